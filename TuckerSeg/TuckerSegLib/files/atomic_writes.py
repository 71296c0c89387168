"""Files and folders that are written whole or not at all, whatever ends the process or takes the power away.

The order is always the same: written in a temporary folder beside the place, told to the disk (fsync), renamed, and the
folder's new names told to the disk. A reader sees the old file or the new one, and after a loss of power it is one of
the two. What a killed process left is removed by the next write into the same folder, see ``leftovers.py``.

A file gets the permissions that any new file of the user gets, also where it takes the place of another. A symbolic
link in its place is replaced by the file, and what it pointed to stays as it was.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import DiskFullError, OutputError, TuckerSegError
from .fsync import sync_folder, sync_tree
from .full_disk import FULL, full_disk_words, is_full
from .leftovers import HeldFolder, holds, mode_by_umask


@contextmanager
def written_whole(path: str | os.PathLike, needed_bytes: int | None = None) -> Iterator[Path]:
    """Give the path of a file to write, of the same name, which takes its place when all went well.

    Where ``path`` lies in a temporary folder itself, it is written as it is: whoever made the folder moves it.

    Args:
        needed_bytes: Size of the file where it is known, for what is told of a full disk.

    Raises:
        OutputError: No such folder, not writable, disk full, or something else than a file is in its place.
    """
    path = Path(path).absolute()
    _require_file(path)
    try:
        if holds(path):
            with _full_disk_as_such(path.parent):
                yield path
            return
        with temporary_folder(path.parent) as folder:
            beside = folder / path.name
            yield beside
            mode = mode_by_umask(folder)
            if mode is not None and stat.S_IMODE(beside.stat().st_mode) != mode:
                beside.chmod(mode)  # some libraries make their files readable by the user alone
            move_into_place(beside, path)
    except OSError as error:
        raise output_error(path, error, needed_bytes) from error


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """A folder for files on their way, removed at the end; only the user can look into it.

    Args:
        parent: Folder that it is made in. Two calls at once get two folders.

    Raises:
        OSError: It cannot be made; or what is written in it does not fit on the disk, whichever library found out.
    """
    held = HeldFolder(parent)
    try:
        with _full_disk_as_such(held.path):
            yield held.path
    finally:
        held.release()


@contextmanager
def _full_disk_as_such(folder: Path) -> Iterator[None]:
    """Let whoever writes in a folder raise what he will at a full disk: the error that leaves says so.

    Raises:
        OSError: With the number of a full disk.
    """
    try:
        yield
    except Exception as error:  # as many as there are libraries
        is_clear = isinstance(error, TuckerSegError) or (isinstance(error, OSError) and error.errno in FULL)
        if is_clear or not is_full(error, folder):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error


def move_into_place(source: Path, place: Path) -> None:
    """Rename a file or a folder that is on the same disk, and return when both content and name are safe.

    Raises:
        OSError: It cannot be done; ``source`` is still there.
    """
    sync_tree(source)
    os.replace(source, place)
    sync_folder(place.parent)


def remove_at_once(folder: Path) -> None:
    """Remove a folder so that nobody finds half of it, even if the process is killed meanwhile.

    Raises:
        OSError: It cannot be removed; it is whole.
    """
    with temporary_folder(folder.parent) as beside:
        os.replace(folder, beside / folder.name)
        sync_folder(folder.parent)


def output_error(path: Path, error: OSError, needed_bytes: int | None = None) -> OutputError:
    """What a failed write means for a user."""
    folder, reason = path.parent, error.strerror or str(error)
    if is_full(error):
        return DiskFullError(
            f"{path} cannot be written: {full_disk_words(folder, needed_bytes)}. Make space on it, or write to another "
            "one. Nothing was written."
        )
    if not os.path.isdir(folder):
        return OutputError(f"{path} cannot be written: the folder {folder} does not exist. Create it first.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OutputError(
            f"{path} cannot be written: the folder {folder} cannot be written to ({reason}). Choose another one."
        )
    return OutputError(f"{path} cannot be written: {reason}.")


def _require_file(path: Path) -> None:
    if os.path.isdir(path):
        raise OutputError(f"{path} cannot be written: it is a folder. Give the name of a file in it.")
    if os.path.exists(path) and not os.path.isfile(path):
        raise OutputError(f"{path} cannot be written: it is a device or a pipe. Give the name of a file.")
