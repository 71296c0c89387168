"""Fetches one file: resumes after cuts, tries again, checks what came."""

from __future__ import annotations

import hashlib
import http.client
import random
import shutil
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import DownloadError
from ..files.atomic_writes import move_into_place
from ..monitor import Monitor
from .answers import length_of, passing_status, pause_asked, range_of, reason_of
from .connections import check_address, opener_for
from .pacing import Pace
from .part_file import PartFile

TIMEOUT_S = 30
CHUNK_BYTES = 256 * 1024
ATTEMPTS_OFFLINE = 3  # where not even the server's name is found
CANCEL_CHECK_S = 0.1
LEAST_GAIN_BYTES = 64 * 1024  # an attempt that brings less counts as one that brings nothing
LARGER_SHARE = 1.1  # a file that is published anew may be this much larger than expected
MOST_BYTES = 10**10  # of a file of which nothing is known
MOST_TIMES = 3  # so often may everything come, with what has to come again


@dataclass(frozen=True)
class Patience:
    """How long to try.

    Attributes:
        attempts: In a row that bring hardly a byte.
        first_s: Pause after the first of them; it doubles with each, and is shortened by chance up to one half, so
            that many computers do not come back at once.
        longest_s: No pause is longer, whatever the server asks for.
        attempts_in_all: Whatever they bring.
        restarts: So often may what came turn out not to belong to what comes.
        clock: Seconds; by it a server is too slow.
    """

    attempts: int = 5
    first_s: float = 1.0
    longest_s: float = 60.0
    attempts_in_all: int = 200
    restarts: int = 3
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True)
class Fetched:
    """A file that is whole.

    Attributes:
        resumed: An earlier attempt had begun it.
    """

    path: Path
    sha256: str
    resumed: bool


class WrongChecksum(DownloadError):
    """The file is another one than expected."""


class _StartAgain(Exception):
    """What is here does not belong to what the server sends; the message says why."""


def fetch(
    url: str,
    target: Path,
    sha256: str | None = None,
    monitor: Monitor | None = None,
    spare: Callable[[int], int] = lambda total: 0,
    patience: Patience | None = None,
    size_bytes: int | None = None,
) -> Fetched:
    """Fetch a file, going on where an earlier attempt ended. One process at a time per target.

    Args:
        target: Where it lies when it is whole; ``target.part`` beside it until then.
        sha256: What it has to be; None: nothing is known.
        monitor: Hears how many bytes are here, and of how many (None where that is not known); asked between chunks
            whether to stop. What came until then stays for the next time.
        spare: Bytes of disk that a file of a size needs besides itself.
        size_bytes: How large it should be; None: not known. One that is much larger is not taken.

    Raises:
        DownloadError: It cannot be had: no connection, not there, wrong checksum, full disk, not HTTPS, too large,
            too slow. What came stays for the next time where that can help.
        Cancelled: The monitor said so.
    """
    check_address(url)
    monitor = monitor or Monitor()
    while True:
        with PartFile(target, url) as part:
            resumed = part.size > 0
            _Transfer(part, monitor, spare, patience or Patience(), size_bytes).complete()
            if not part.size:
                raise DownloadError(f"{url}: the server has an empty file there.")
        actual_sha256 = sha256_of(part.path, monitor)
        if sha256 in (None, actual_sha256):
            move_into_place(part.path, target)
            part.forget()
            return Fetched(target, actual_sha256, resumed)
        part.discard()
        if not resumed:
            raise WrongChecksum(
                f"{url}: wrong checksum. Expected SHA-256 {sha256}, found {actual_sha256}; the file was thrown away. "
                "Try again; if it is wrong again, the server has another file than this version of TuckerSeg knows."
            )


def sha256_of(path: Path, monitor: Monitor | None = None) -> str:
    """SHA-256 of a file, as a hexadecimal string."""
    digest, monitor = hashlib.sha256(), monitor or Monitor()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            monitor.check("The download")
            digest.update(chunk)
    return digest.hexdigest()


def check_space(folder: Path, needed: int) -> None:
    """Raise DownloadError where the disk of ``folder`` has fewer free bytes than are needed."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DownloadError(
            f"{folder}: {needed / 1e6:.0f} MB are needed on this disk, {free / 1e6:.0f} MB are free. Make room on it.",
            shell="Or name a folder on another disk by TUCKERSEG_MODELS_DIR.",
        )


class _Transfer:
    """Brings a part file to its whole length, whatever happens on the way."""

    def __init__(
        self,
        part: PartFile,
        monitor: Monitor,
        spare: Callable[[int], int],
        patience: Patience,
        size_bytes: int | None,
    ):
        self._part, self._monitor, self._spare = part, monitor, spare
        self._patience, self._expected = patience, size_bytes
        self._most = MOST_BYTES if size_bytes is None else int(LARGER_SHARE * size_bytes) + CHUNK_BYTES
        self._pace = Pace(part.url, MOST_TIMES * self._most, monitor, patience.clock)
        self._opener = opener_for(part.url, self._pace)

    def complete(self) -> None:
        """Receive until everything is here.

        Raises:
            DownloadError: It will not come.
            Cancelled: It is not wanted any more.
        """
        part, patience, failures, restarts = self._part, self._patience, 0, 0
        for attempt in range(1, patience.attempts_in_all + 1):
            before, asked_s, offline = part.size, 0.0, False
            try:
                self._receive()
                return
            except _StartAgain as error:
                part.restart()
                restarts += 1
                if restarts > patience.restarts:
                    raise DownloadError(f"{part.url}: {error}, {restarts} times; what came was thrown away.") from error
                reason, failures = str(error), 0  # restarts are counted by themselves
            except urllib.error.HTTPError as error:
                error.close()
                if _is_whole(error, part):
                    return
                reason, asked_s = passing_status(error, part.url), pause_asked(error)
            except (OSError, http.client.HTTPException) as error:
                reason = reason_of(error, part.url)
                offline = isinstance(getattr(error, "reason", None), socket.gaierror)
            failures = 1 if part.size - before >= LEAST_GAIN_BYTES else failures + 1
            most = min(ATTEMPTS_OFFLINE, patience.attempts) if offline else patience.attempts
            if failures >= most or attempt == patience.attempts_in_all:
                raise DownloadError(f"{urllib.parse.urlsplit(part.url).hostname} cannot be reached ({reason}).")
            pause = patience.first_s * 2 ** (failures - 1) * random.uniform(0.5, 1.0)
            _wait(min(max(pause, asked_s), patience.longest_s), self._monitor)

    def _receive(self) -> None:
        part = self._part
        request = urllib.request.Request(part.url, headers={"User-Agent": "tuckerseg", **part.range_headers()})
        with self._opener.open(request, timeout=TIMEOUT_S) as response:
            self._pace.begin_file()
            total = self._begin(response)
            while chunk := response.read1(CHUNK_BYTES):
                if part.size + len(chunk) > (self._most if total is None else total):
                    self._refuse_more(total)
                if total is None:
                    check_space(part.path.parent, len(chunk) + self._spare(part.size))
                part.write(chunk)
                self._monitor.progress(part.size, total)
                self._monitor.check("The download")
        if total is not None and part.size < total:
            raise ConnectionError("the connection ended early")

    def _begin(self, response: http.client.HTTPResponse) -> int | None:
        """Bytes of the whole file by an answer; where what is here is not its beginning, it is thrown away."""
        part = self._part
        if response.status == 206:
            content_range = range_of(response.headers)
            if content_range is None or content_range[0] != part.size or part.total not in (None, content_range[1]):
                raise _StartAgain("the server sends another part of the file than was asked for, or of another file")
            total = content_range[1]
        else:
            part.restart()
            total = length_of(response.headers)
        if total is not None and total > self._most:
            self._refuse(f"the server has {total / 1e6:.0f} MB there")
        part.describe(response.headers, total)
        needed = self._expected if total is None else total
        if needed is not None:
            check_space(part.path.parent, max(needed - part.size, 0) + self._spare(needed))
        self._monitor.progress(part.size, total)
        return total

    def _refuse_more(self, total: int | None) -> None:
        if total is not None:
            raise _StartAgain("the server sends more than it said")
        self._refuse(f"the server sends more than {self._most / 1e6:.0f} MB")

    def _refuse(self, content: str) -> None:
        self._part.restart()
        expected = f"{self._most / 1e6:.0f} MB at most" if self._expected is None else f"{self._expected / 1e6:.0f} MB"
        raise DownloadError(f"{self._part.url}: {content}, where {expected} are expected; what came was thrown away.")


def _is_whole(error: urllib.error.HTTPError, part: PartFile) -> bool:
    """Whether a server refused a range because nothing is missing; start again where it has another file."""
    if error.code != 416:
        return False
    if part.size and error.headers.get("Content-Range") == f"bytes */{part.size}":
        return True
    part.restart()
    return False


def _wait(seconds: float, monitor: Monitor) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        monitor.check("The download")
        time.sleep(min(left, CANCEL_CHECK_S))
