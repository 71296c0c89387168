"""Locks on open files, which the operating system takes away when their holder ends, however it ends."""

from __future__ import annotations

import contextlib
import errno
import os

TAKEN = (errno.EAGAIN, errno.EACCES, errno.EDEADLK, errno.EWOULDBLOCK)


def try_lock(handle: int) -> bool | None:
    """Lock an open file, without waiting.

    Args:
        handle: Of a file open for writing. Another handle of the same process counts as another holder.

    Returns:
        Whether it is locked now; None on a file system without locks.
    """
    try:
        if os.name == "nt":
            import msvcrt

            os.lseek(handle, 0, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in TAKEN else None
    return True


def unlock(handle: int) -> None:
    """Give a lock back; closing the file does so, too."""
    with contextlib.suppress(OSError):
        if os.name == "nt":
            import msvcrt

            os.lseek(handle, 0, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_UN)
