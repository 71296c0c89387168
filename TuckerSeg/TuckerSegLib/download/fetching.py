"""Fetches one file: resumes after cuts, tries again, checks what came."""

from __future__ import annotations

import hashlib
import http.client
import os
import random
import re
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import Cancelled, DownloadError
from .connections import check_address, opener_for
from .part_file import PartFile

TIMEOUT_S = 30
CHUNK_BYTES = 256 * 1024
PASSING_STATUSES = (408, 425, 429, 500, 502, 503, 504)  # of a server that may do better in a moment
ATTEMPTS_OFFLINE = 3  # where not even the server's name is found
CANCEL_CHECK_S = 0.1

Progress = Callable[[int, int | None], None]  # bytes that are here, and of how many; None where it is not known


@dataclass(frozen=True)
class Patience:
    """How long to try.

    Attributes:
        attempts: In a row that bring no byte.
        first_s: Pause after the first of them; it doubles with each, and is shortened by chance up to one half, so
            that many computers do not come back at once.
        longest_s: No pause is longer, whatever the server asks for.
    """

    attempts: int = 5
    first_s: float = 1.0
    longest_s: float = 60.0


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
    """What is here does not belong to what the server has."""


def fetch(
    url: str,
    target: Path,
    sha256: str | None = None,
    progress: Progress = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
    spare: Callable[[int], int] = lambda total: 0,
    patience: Patience | None = None,
) -> Fetched:
    """Fetch a file, going on where an earlier attempt ended. One process at a time per target.

    Args:
        target: Where it lies when it is whole; ``target.part`` beside it until then.
        sha256: What it has to be; None: nothing is known.
        spare: Bytes of disk that a file of a size needs besides itself.
        cancelled: Asked between chunks; what came until then stays for the next time.

    Raises:
        DownloadError: It cannot be had: no connection, not there, wrong checksum, full disk, not HTTPS.
        Cancelled: ``cancelled`` said so.
    """
    check_address(url)
    opener = opener_for(url)
    while True:
        with PartFile(target, url) as part:
            resumed = part.size > 0
            _complete(opener, part, progress, cancelled, spare, patience or Patience())
            if not part.size:
                raise DownloadError(f"{url}: the server has an empty file there.")
        found = sha256_of(part.path, cancelled)
        if sha256 in (None, found):
            os.replace(part.path, target)
            part.forget()
            return Fetched(target, found, resumed)
        part.discard()
        if not resumed:
            raise WrongChecksum(
                f"{url}: wrong checksum. Expected SHA-256 {sha256}, found {found}; the file was thrown away. Try "
                "again; if it is wrong again, the server has another file than this version of TuckerSeg knows."
            )


def sha256_of(path: Path, cancelled: Callable[[], bool] = lambda: False) -> str:
    """SHA-256 of a file, as a hexadecimal string."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            if cancelled():
                raise Cancelled("The download was cancelled.")
            digest.update(chunk)
    return digest.hexdigest()


def check_space(folder: Path, needed: int) -> None:
    """Raise DownloadError where a disk has fewer free bytes."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DownloadError(
            f"{folder}: {needed / 1e6:.0f} MB are needed on this disk, {free / 1e6:.0f} MB are free. Make room, or "
            "name a folder on another disk by TUCKERSEG_MODELS_DIR."
        )


def _complete(
    opener: urllib.request.OpenerDirector,
    part: PartFile,
    progress: Progress,
    cancelled: Callable[[], bool],
    spare: Callable[[int], int],
    patience: Patience,
) -> None:
    """Bring a part file to its whole length, whatever happens on the way."""
    failures = 0
    while True:
        before, asked_s, offline = part.size, 0.0, False
        try:
            _receive(opener, part, progress, cancelled, spare)
            return
        except _StartAgain:
            part.restart()
            reason = "the file changed on the server"
        except urllib.error.HTTPError as error:
            if _is_whole(error, part):
                return
            reason, asked_s = _passing(error, part.url), _retry_after(error)
        except (OSError, http.client.HTTPException) as error:
            reason = _reason(error, part.url)
            offline = isinstance(getattr(error, "reason", None), socket.gaierror)
        failures = 1 if part.size > before else failures + 1
        if failures >= (min(ATTEMPTS_OFFLINE, patience.attempts) if offline else patience.attempts):
            raise DownloadError(f"{urllib.parse.urlsplit(part.url).hostname} cannot be reached ({reason}).")
        pause = patience.first_s * 2 ** (failures - 1) * random.uniform(0.5, 1.0)
        _wait(min(max(pause, asked_s), patience.longest_s), cancelled)


def _receive(
    opener: urllib.request.OpenerDirector,
    part: PartFile,
    progress: Progress,
    cancelled: Callable[[], bool],
    spare: Callable[[int], int],
) -> None:
    request = urllib.request.Request(part.url, headers={"User-Agent": "tuckerseg", **part.range_headers()})
    with opener.open(request, timeout=TIMEOUT_S) as response:
        if response.status == 206:
            found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
            if not found or int(found[1]) != part.size or part.total not in (None, int(found[2])):
                raise _StartAgain
            total = int(found[2])
        else:
            part.restart()
            length = response.headers.get("Content-Length", "")
            total = int(length) if length.isdigit() else None
        part.describe(response.headers, total)
        if total is not None:
            check_space(part.path.parent, total - part.size + spare(total))
        progress(part.size, total)
        while chunk := response.read1(CHUNK_BYTES):
            part.write(chunk)
            progress(part.size, total)
            if cancelled():
                raise Cancelled("The download was cancelled.")
    if total is not None and part.size < total:
        raise ConnectionError("the connection ended early")
    if total is not None and part.size > total:
        raise _StartAgain


def _is_whole(error: urllib.error.HTTPError, part: PartFile) -> bool:
    """Whether a server refused a range because nothing is missing; start again where it has another file."""
    if error.code != 416:
        return False
    if part.size and error.headers.get("Content-Range") == f"bytes */{part.size}":
        return True
    part.restart()
    return False


def _passing(error: urllib.error.HTTPError, url: str) -> str:
    if error.code in (*PASSING_STATUSES, 416):
        return f"HTTP status {error.code}"
    hint = " The proxy asks for a name and password: set HTTPS_PROXY." if error.code == 407 else ""
    raise DownloadError(f"{url}: the server answered with HTTP status {error.code} ({error.reason}).{hint}") from error


def _retry_after(error: urllib.error.HTTPError) -> float:
    text = error.headers.get("Retry-After", "") if error.headers else ""
    return float(text) if text.isdigit() else 0.0


def _reason(error: Exception, url: str) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        raise DownloadError(
            f"{url}: the server's certificate cannot be verified ({cause.verify_message}). A proxy that inspects "
            "connections has its own: name its certificate file by SSL_CERT_FILE. Or the computer's clock is wrong."
        ) from error
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__


def _wait(seconds: float, cancelled: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if cancelled():
            raise Cancelled("The download was cancelled.")
        time.sleep(min(left, CANCEL_CHECK_S))
