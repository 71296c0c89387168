"""Tells the disk to keep what was written, so that a loss of power does not take it away."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)  # file systems that cannot be told


@contextmanager
def synced_file(path: Path) -> Iterator[BinaryIO]:
    """A new file that is on the disk when this ends, for a folder that is moved to its place as a whole.

    Raises:
        OSError: It is there already, or cannot be written.
    """
    with path.open("xb") as file:
        yield file
        file.flush()
        sync_handle(file.fileno())


def sync_tree(root: Path) -> None:
    """Tell the disk to keep a file, or a folder with all that it holds."""
    if not os.path.isdir(root):
        sync_file(root)
        return
    for folder, _, names in os.walk(root):
        for name in names:
            sync_file(Path(folder, name))
        sync_folder(Path(folder))


def sync_file(path: Path) -> None:
    """Tell the disk to keep a file's content."""
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)  # Windows asks for one that may write
    try:
        sync_handle(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Tell the disk to keep the names in a folder, where the system can."""
    if os.name == "nt":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that may be written to, but not looked into
        return
    try:
        sync_handle(handle)
    finally:
        os.close(handle)


def sync_handle(handle: int) -> None:
    """The same for an open file."""
    try:
        if sys.platform == "darwin":
            import fcntl

            with suppress(OSError):  # some file systems do not know it
                fcntl.fcntl(handle, fcntl.F_FULLFSYNC)  # fsync alone leaves it in the drive's own memory there
                return
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
