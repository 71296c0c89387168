"""The order in which requests are done, and which of them are not wanted any more."""

from __future__ import annotations

import queue
import threading
import time
from typing import Any

from ..records.protocol import LATEST_WINS

Request = dict[str, Any]
RUNS = ("segment", "segment_file")  # what a user waits for


class Work:
    """A request that was accepted, and whether it is still wanted."""

    def __init__(self, request: Request):
        self.request, self.number, self.kind = request, request["id"], request["request"]
        self.cancelled = threading.Event()
        self.dropped = False


class Lane:
    """Requests that are done one after the other, by one thread."""

    def __init__(self):
        self._queue: queue.Queue[Work] = queue.Queue()
        self._open: dict[int, Work] = {}
        self._lock = threading.Lock()
        self._used_at = time.monotonic()

    def put(self, work: Work) -> None:
        """Accept a request; of a kind of which only the latest counts, the others are given up."""
        with self._lock:
            for other in self._open.values():
                if work.kind in LATEST_WINS and other.kind == work.kind:
                    other.dropped = True
                    other.cancelled.set()
                elif work.kind in RUNS and other.kind in LATEST_WINS:  # the run that the user waits for goes first
                    other.cancelled.set()
            self._open[work.number] = work
        self._queue.put(work)

    def cancel(self, number: int) -> None:
        """Mark a request as not wanted; one that is done already is none."""
        with self._lock:
            if number in self._open:
                self._open[number].cancelled.set()

    def take(self) -> Work:
        """The next request; waits for one."""
        return self._queue.get()

    def done(self, work: Work) -> None:
        """A request that was taken has been answered; from now the lane may count as idle."""
        with self._lock:
            self._open.pop(work.number, None)
            self._used_at = time.monotonic()

    @property
    def idle_s(self) -> float:
        """Seconds since the last request was done; 0 while one is waiting or worked on."""
        with self._lock:
            return 0.0 if self._open else time.monotonic() - self._used_at
