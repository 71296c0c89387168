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
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import OutputError
from .leftovers import HeldFolder, holds, mode_by_umask
from .sync import sync_folder, sync_tree


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
        OSError: It cannot be made.
    """
    held = HeldFolder(parent)
    try:
        yield held.path
    finally:
        held.release()


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
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        needed = "" if needed_bytes is None else f"; {needed_bytes / 1e6:.0f} MB are needed"
        free = ""
        with suppress(OSError):
            free = f", {shutil.disk_usage(folder).free / 1e6:.0f} MB are free in {folder}"
        return OutputError(
            f"{path} cannot be written: the disk is full{free}{needed}. Make space on it, or write to another one. "
            "Nothing was written."
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
