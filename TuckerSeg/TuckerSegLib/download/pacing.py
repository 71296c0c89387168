"""How much a server may send, and how slowly at the least: everything that comes over the wire is counted.

A server that sends a byte now and then keeps every time limit of a single read; one that never ends its headers, its
chunks or its "continue" never comes to the file. So the bytes are counted below the HTTP client, not behind it.
"""

from __future__ import annotations

import functools
import http.client
import io
import time
from collections.abc import Callable
from typing import Any

from ..errors import DownloadError
from ..monitor import Monitor

HEAD_BYTES = 1024 * 1024  # of everything before the file itself; servers send less than a hundredth of it
PATIENT_S = 1.0  # so long, an answer is waited for without asking whether it is still wanted
SLOWEST_BYTES_PER_S = 1000
OVER_S = 120.0  # connections stand still for a while and go on; for two minutes they do not


class Pace:
    """Counts what comes for one download, over all its connections.

    Args:
        url: For messages.
        most_bytes: In all, what is sent twice counted twice.
        monitor: Asked whether to stop when something comes before the file, where that takes long.
        clock: Seconds.
    """

    def __init__(
        self, url: str, most_bytes: int, monitor: Monitor, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = url
        self._left, self._monitor, self._clock = most_bytes, monitor, clock
        self._head_left: int | None = HEAD_BYTES
        self._since, self._came = clock(), 0

    def begin(self) -> None:
        """An answer is expected."""
        self._head_left = HEAD_BYTES
        self._since, self._came = self._clock(), 0

    def begin_file(self) -> None:
        """What comes from here on is the file."""
        self._head_left = None

    def count(self, size: int) -> None:
        """Bytes have come.

        Raises:
            DownloadError: Too many, or too few in too long a time.
            Cancelled: It is not wanted any more.
        """
        self._left -= size
        if self._left < 0:
            raise DownloadError(f"{self._url}: the server sends the same again and again.")
        seconds = self._clock() - self._since
        if self._head_left is not None:
            if seconds > PATIENT_S:
                self._monitor.check("The download")
            self._head_left -= size
            if self._head_left < 0:
                raise DownloadError(f"{self._url}: the server sends more than {HEAD_BYTES // 1024} kB before the file.")
        self._came += size
        if seconds >= OVER_S:
            if self._came < SLOWEST_BYTES_PER_S * seconds:
                raise DownloadError(
                    f"{self._url}: the server sends too slowly, {self._came} bytes in {seconds:.0f} s, where at least "
                    f"{SLOWEST_BYTES_PER_S} per second are expected; what came so far is kept. Try again later."
                )
            self._since, self._came = self._clock(), 0


def paced(connection: type[http.client.HTTPConnection], pace: Pace) -> type[http.client.HTTPConnection]:
    """A class of connections whose answers are counted."""

    class Paced(connection):
        response_class = staticmethod(functools.partial(_Response, pace))

    return Paced


class _Response(http.client.HTTPResponse):
    def __init__(self, pace: Pace, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        pace.begin()
        self.fp = io.BufferedReader(_Counted(self.fp.detach(), pace))


class _Counted(io.RawIOBase):
    """What is read from another stream, counted."""

    def __init__(self, stream: io.RawIOBase, pace: Pace) -> None:
        self._stream, self._pace = stream, pace

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        size = self._stream.readinto(buffer)
        self._pace.count(size or 0)
        return size

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()
