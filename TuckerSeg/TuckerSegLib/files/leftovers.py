"""Folders for files on their way: made, held while their owner lives, and removed after it, however it ended.

Every file that is written lies in such a folder beside its place until it is whole. The folder's name says which
computer and process made it, and a lock on a file in it whether that process lives: the operating system takes the
lock away with the process, and no number is used twice as those of processes are. What a killed process left is
removed by the next one that writes beside it. Of another computer's folders on a shared drive only the age is known.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .locks import try_lock
from .moves import finish_begun_move

LOCK_FILE = ".tuckerseg-owner.lock"
ABANDONED_S = 7 * 86400  # where nobody can tell whether the owner lives; no write takes a week
LOCK_TRIES, LOCK_PAUSE_S = 20, 0.005
LIVING, ENDED, UNKNOWN = "living", "ended", "unknown"

_HOST = re.sub(r"[^A-Za-z0-9]+", "", socket.gethostname())[:16] or "unnamed"
_NAME = re.compile(r"\.tuckerseg-(?P<host>[A-Za-z0-9]+)-(?P<pid>[0-9]+)-[0-9a-f]{8}")


@dataclass(frozen=True)
class Leftover:
    """A folder for files on their way.

    Attributes:
        size_bytes: Of all that it holds.
        age_s: Since the last change in it.
        owner: ``living``, ``ended``, or ``unknown``: another computer's, or on a file system without locks.
    """

    path: Path
    size_bytes: int
    age_s: float
    owner: str

    @property
    def removable(self) -> bool:
        """Whether nobody needs it any more."""
        return self.owner == ENDED or (self.owner == UNKNOWN and self.age_s > ABANDONED_S)


class HeldFolder:
    """A temporary folder of this process, kept from being removed by others until :meth:`release` or its end.

    Args:
        parent: Folder that it is made in; what ended processes left there is removed first.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, parent: Path):
        sweep(parent)
        self.path = parent / f".tuckerseg-{_HOST}-{os.getpid()}-{secrets.token_hex(4)}"
        self._handle: int | None = None
        self.renew()

    def renew(self) -> None:
        """Make the folder and its lock again where somebody removed them."""
        for attempt in range(LOCK_TRIES):
            if self._handle is not None and _is_at(self._handle, self.path / LOCK_FILE):
                return
            self._close()
            time.sleep(attempt * LOCK_PAUSE_S)
            with contextlib.suppress(FileExistsError):
                os.mkdir(self.path, 0o700)  # it may hold images of patients
            self._handle = _lock_of(self.path)  # None while another process looks whether anybody holds it
        # A file system on which no lock can be had, or is told from another: nobody gets it there, and the age counts

    def release(self) -> None:
        """Remove the folder with all that it holds; it may be gone already."""
        self._close()  # first, as Windows removes no open file
        shutil.rmtree(self.path, ignore_errors=True)

    def _close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def is_temporary(path: Path) -> bool:
    """Whether a path has the name of a temporary folder."""
    return _NAME.fullmatch(path.name) is not None


def holds(path: Path) -> bool:
    """Whether a path lies in a temporary folder, so that whoever made the folder moves and removes it."""
    return any(map(is_temporary, path.parents))


def leftovers(folder: Path) -> list[Leftover]:
    """Temporary folders in a folder, those of living processes too."""
    temporary_folders = []
    for path in _temporary_folders(folder):
        with contextlib.suppress(OSError):  # gone meanwhile
            temporary_folders.append(_described(path))
    return temporary_folders


def temporary_places() -> list[Path]:
    """Folders for temporary files: the system's, and those that 3D Slicer makes in it."""
    folder = Path(tempfile.gettempdir())
    return [folder, *sorted(folder.glob("Slicer-*"))]


def sweep(folder: Path) -> int:
    """Remove what ended processes left in a folder; returns the bytes that were freed. Never fails."""
    freed = 0
    for path in _temporary_folders(folder):
        with contextlib.suppress(OSError):
            leftover = _described(path)
            if leftover.removable and _remove(path):
                freed += leftover.size_bytes
    return freed


def _temporary_folders(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        paths = [Path(entry) for entry in entries if _NAME.fullmatch(entry.name) and not entry.is_symlink()]
        yield from sorted(path for path in paths if os.path.isdir(path))


def _described(path: Path) -> Leftover:
    size, newest = 0, path.stat().st_mtime
    for parent, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                status = os.lstat(os.path.join(parent, name))
                size, newest = size + status.st_size, max(newest, status.st_mtime)
    return Leftover(path, size, max(time.time() - newest, 0.0), _owner(path))


def _owner(path: Path) -> str:
    if _NAME.fullmatch(path.name)["host"] != _HOST:
        return UNKNOWN
    lock = path / LOCK_FILE
    try:
        if os.name == "nt":
            os.rename(lock, lock)  # refused while anybody has it open
            return ENDED
        handle = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        return ENDED  # or just about to be made: its owner sees that it is gone, and makes another
    except OSError:
        return LIVING if os.name == "nt" else UNKNOWN
    try:
        return {True: ENDED, False: LIVING, None: UNKNOWN}[try_lock(handle)]
    finally:
        os.close(handle)


def _remove(path: Path) -> bool:
    """Remove a folder unless its owner turns out to live; the lock is held meanwhile, so that nobody takes it up."""
    handle = None
    if os.name == "nt":
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path / LOCK_FILE)
    elif _NAME.fullmatch(path.name)["host"] == _HOST:
        handle = _lock_of(path)
        if handle is None:
            return False
    with contextlib.suppress(OSError, ValueError):
        finish_begun_move(path)
    shutil.rmtree(path, ignore_errors=True)
    if handle is not None:
        os.close(handle)
    return not os.path.exists(path)


def _lock_of(path: Path) -> int | None:
    """Lock a folder; None where another has it, or has removed it meanwhile."""
    try:
        handle = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:
        return None
    if (os.name == "nt" or try_lock(handle) is not False) and _is_at(handle, path / LOCK_FILE):
        return handle
    os.close(handle)
    return None


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except OSError:
        return False


def mode_by_umask(folder: Path) -> int | None:
    """Permissions that new files get beside a lock; None where there are none to set."""
    return None if os.name == "nt" else stat.S_IMODE((folder / LOCK_FILE).stat().st_mode)
