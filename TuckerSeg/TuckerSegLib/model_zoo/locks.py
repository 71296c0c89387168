"""A lock between processes that the operating system takes away when its holder ends, however it ends."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import Cancelled
from ..files.locks import try_lock, unlock

POLL_S = 0.2


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
        while try_lock(file.fileno()) is False:  # None, on a file system without locks: go on without one
            if cancelled():
                raise Cancelled("Waiting for another process was cancelled.")
            if not waiting:
                on_wait()
            waiting = True
            time.sleep(POLL_S)
        try:
            yield
        finally:
            unlock(file.fileno())
