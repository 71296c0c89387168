"""A lock between processes that the operating system takes away when its holder ends, however it ends."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from ..files.locks import try_lock, unlock
from ..monitor import Monitor

POLL_S = 0.2


@contextlib.contextmanager
def exclusive(path: Path, waiting_for: str, monitor: Monitor) -> Iterator[None]:
    """Hold a lock; wait while another process, or thread, holds it. Its file stays, empty.

    Args:
        waiting_for: What is told, once, where it has to be waited for.
        monitor: Hears that, and is asked whether to go on waiting.

    Raises:
        Cancelled: The monitor said so while waiting.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as file:
        waiting = False
        while try_lock(file.fileno()) is False:  # None, on a file system without locks: go on without one
            monitor.check("Waiting for another process")
            if not waiting:
                monitor.log(waiting_for)
            waiting = True
            time.sleep(POLL_S)
        try:
            yield
        finally:
            unlock(file.fileno())
