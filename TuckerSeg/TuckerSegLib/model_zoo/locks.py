"""A lock between processes that the operating system takes away when its holder ends, however it ends."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from ..errors import Cancelled

POLL_S = 0.2
TAKEN = (errno.EAGAIN, errno.EACCES, errno.EDEADLK, errno.EWOULDBLOCK)


@contextlib.contextmanager
def exclusive(path: Path, on_wait: Callable[[], None], cancelled: Callable[[], bool]) -> Iterator[None]:
    """Hold a lock; wait while another process, or thread, holds it. Its file stays, empty.

    Args:
        on_wait: Called once, where it has to be waited for.

    Raises:
        Cancelled: ``cancelled`` said so while waiting.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as file:
        waiting = False
        while not _try(file):
            if cancelled():
                raise Cancelled("Waiting for another process was cancelled.")
            if not waiting:
                on_wait()
            waiting = True
            time.sleep(POLL_S)
        try:
            yield
        finally:
            _release(file)


def _try(file: IO[bytes]) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in TAKEN  # a file system without locks: go on without one
    return True


def _release(file: IO[bytes]) -> None:
    with contextlib.suppress(OSError):
        if os.name == "nt":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_UN)
