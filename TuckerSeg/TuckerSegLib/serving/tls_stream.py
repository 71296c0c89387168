"""TLS for a connection that one thread reads and others write: OpenSSL allows one of them at a time."""

from __future__ import annotations

import io
import select
import socket
import ssl
import threading
import time

LONGEST_WAIT_S = 1.0  # until it is looked again whether the other direction has freed this one


class TlsStream(io.RawIOBase):
    """The reading end, and :meth:`send_all`; neither waits while it holds the connection.

    Args:
        connection: Connected; it is verified against the certificates that the system trusts.
        host: That the certificate must be for.
        patience_s: Until the other side speaks, while :attr:`patience_s` is not None.

    Raises:
        OSError: The other side speaks no TLS, or has no certificate that is trusted.
    """

    def __init__(self, connection: socket.socket, host: str, patience_s: float):
        self.socket = ssl.create_default_context().wrap_socket(connection, server_hostname=host)
        self.socket.setblocking(False)
        self.patience_s: float | None = patience_s
        self._lock = threading.Lock()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        """Wait for bytes; 0 where the connection has ended."""
        started = time.monotonic()
        while True:
            with self._lock:
                try:
                    return self.socket.recv_into(buffer)
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    pass
            if self.patience_s is not None and time.monotonic() - started > self.patience_s:
                raise TimeoutError("timed out")
            select.select([self.socket], [], [], LONGEST_WAIT_S)

    def send_all(self, content: bytes) -> None:
        """Send everything."""
        rest = memoryview(content)
        while rest:
            with self._lock:
                try:
                    rest = rest[self.socket.send(rest) :]
                    continue
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    pass
            select.select([], [self.socket], [], LONGEST_WAIT_S)
