"""How far a download of several files is, and how long it will still take."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ..catalog.entries import Part
from ..monitor import Event, Listener

TOLD_EVERY_S = 0.2
SPEED_OVER_S = 10.0  # connections change; what they did last says most


class DownloadProgress:
    """Makes ``progress`` events of all files together from those of the files that come one after the other.

    A listener, as ``jobs.progress.ProgressTracker``: it hears of each file and tells of all; not more often than a bar
    is drawn.

    Args:
        parts: All that are to come.
        on_event: Receives the events.
        clock: Seconds.
    """

    def __init__(self, parts: Sequence[Part], on_event: Listener, clock: Callable[[], float] = time.monotonic):
        self._parts, self._on_event, self._clock = parts, on_event, clock
        self._sizes = [part.size_bytes or 0 for part in parts]
        self._number = 0
        self._samples: deque[tuple[float, int]] = deque()
        self._told_at = -TOLD_EVERY_S

    def begin(self, number: int) -> None:
        """The next file."""
        self._number = number
        self._samples.clear()

    def __call__(self, event: Event) -> None:
        if event["event"] == "stage":
            self._on_event({**event, **self._place()})
        elif event["event"] != "progress":
            self._on_event(event)
        elif event["stage"] == "download":
            self._downloaded(event["done"], event["total"])
        else:
            self._tell(event["stage"], event["done"], event["total"], None, event["done"] == event["total"])

    def _downloaded(self, done: int, total: int | None) -> None:
        """Bytes of the present file that are here, and of how many."""
        self._sizes[self._number] = max(total or self._sizes[self._number], done)
        if self._samples and done < self._samples[-1][1]:  # it begins again
            self._samples.clear()
        now = self._clock()
        self._samples.append((now, done))
        while now - self._samples[0][0] > SPEED_OVER_S:
            self._samples.popleft()
        before = sum(self._sizes[: self._number])
        self._tell("download", before + done, sum(self._sizes), self._speed(), done == total)

    def _speed(self) -> float | None:
        """Bytes per second; None where it is not known yet."""
        (start, first), (end, last) = self._samples[0], self._samples[-1]
        return (last - first) / (end - start) if end > start and last > first else None

    def _tell(self, stage: str, done: int, total: int, speed: float | None, last: bool) -> None:
        now = self._clock()
        if not last and now - self._told_at < TOLD_EVERY_S:
            return
        self._told_at = now
        event: dict[str, Any] = {"event": "progress", "stage": stage, "done": done, "total": total}
        if speed:
            event["remaining_s"] = (total - done) / speed
        self._on_event(event | self._place())

    def _place(self) -> dict[str, Any]:
        """Which file of several the present one is."""
        if len(self._parts) == 1:
            return {}
        return {"part": self._number + 1, "parts": len(self._parts), "part_name": self._parts[self._number].title}
