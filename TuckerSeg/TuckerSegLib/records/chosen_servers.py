"""Servers that a user has added: as they are typed, as a scene names one, and which of them is meant."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import SpecError
from .server_address import address_of

PREFIX = "server:"  # of a device that is a server, as scenes have it
SEPARATOR = ";"


@dataclass(frozen=True)
class ChosenServer:
    """A server: its address as text, and the file of its token; None: it needs none."""

    address: str
    token_file: str | None = None

    @property
    def device(self) -> str:
        """Its name among the devices."""
        return PREFIX + self.address

    @property
    def options(self) -> list[str]:
        """What tells a worker to let it compute."""
        return ["--server", self.address, *(["--token-file", self.token_file] if self.token_file else [])]


def servers_of(text: str) -> list[ChosenServer]:
    """Servers as they are typed: ``HOST:PORT TOKEN_FILE; HOST:PORT``.

    Raises:
        SpecError: One has no address.
    """
    servers = []
    for entry in filter(None, (part.strip() for part in text.split(SEPARATOR))):
        address, _, token_file = entry.partition(" ")
        servers.append(ChosenServer(str(address_of(address)), token_file.strip() or None))
    devices = [server.device for server in servers]
    if len(set(devices)) < len(devices):
        raise SpecError("Each server should be named once.")
    return servers


def is_server(device: str) -> bool:
    """Whether a device is a server, added or not."""
    return device.startswith(PREFIX)
