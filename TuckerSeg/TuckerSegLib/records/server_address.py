"""Where a server is that computes for this computer. Standard library only."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from ..errors import SpecError
from ..printable import shown

DEFAULT_PORT = 9310
_ADDRESS = re.compile(r"(?P<tls>tls://)?(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[A-Za-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True)
class Address:
    """Where a server is: host, port, and whether TLS is spoken with it."""

    host: str
    port: int
    tls: bool = False

    @property
    def is_loopback(self) -> bool:
        """Whether nothing leaves this computer."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'tls://' if self.tls else ''}{host}:{self.port}"


def address_of(text: str) -> Address:
    """An address as it is typed: ``HOST``, ``HOST:PORT``, ``[::1]:9310``, ``tls://HOST:PORT``.

    Raises:
        SpecError: It is none.
    """
    parts = _ADDRESS.fullmatch(text.strip())
    port = int((parts and parts["port"]) or DEFAULT_PORT)
    if parts is None or not 0 < port < 65536:
        raise SpecError(f"The address of a server should be HOST:PORT or tls://HOST:PORT; found {shown(text)}.")
    return Address(parts["host"].strip("[]"), port, bool(parts["tls"]))
