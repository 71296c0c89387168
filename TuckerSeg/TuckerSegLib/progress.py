"""How far a whole run is and how long it will still take, for a bar that never goes back.

Network and labeling take turns and differ much from volume to volume, so each is timed on its own. The stages before
them cannot be timed from within; they have typical shares of the bar.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

Event = dict[str, Any]
STARTS = {  # fraction of a cold run at which a stage begins; what is skipped is jumped over
    "read": 0.0,
    "load": 0.02,
    "calibrate": 0.05,
    "compress": 0.05,
    "refit": 0.08,
    "prepare": 0.10,
    "preprocess": 0.20,
    "network": 0.25,
}


class ProgressTracker:
    """Adds ``fraction`` (0 to 1) and ``remaining_s`` to the events of a run, and passes them on.

    While patches still come, labeled planes are timed but not told: a status line would jump between the two.

    Args:
        on_event: Receives the events.
        clock: Seconds.
    """

    def __init__(self, on_event: Callable[[Event], None], clock: Callable[[], float] = time.perf_counter):
        self._on_event, self._clock = on_event, clock
        self._fraction = 0.0
        self._started = self._last = clock()
        self._seconds: dict[str, float] = {}
        self._done: dict[str, int] = {}
        self._left_s: dict[str, float] = {}
        self._patches_left = True

    def expect_finish(self, seconds: float) -> None:
        """Count on so many seconds of labeling, until the first plane is labeled."""
        self._left_s["finish"] = seconds

    def __call__(self, event: Event) -> None:
        if event["event"] == "progress":
            event = self._measured(event)
            if event["stage"] == "finish" and self._patches_left:
                return
        elif event.get("stage") in STARTS:
            self._fraction = max(self._fraction, STARTS[event["stage"]])
            event = {**event, "fraction": self._fraction}
            if event["stage"] == "network":
                self._started = self._last = self._clock()
        self._on_event(event)

    def _measured(self, event: Event) -> Event:
        stage, done, total, now = event["stage"], event["done"], event["total"], self._clock()
        if done <= self._done.get(stage, 0):  # begun again, after running out of memory
            self._seconds[stage] = 0.0
        self._seconds[stage] = self._seconds.get(stage, 0.0) + now - self._last
        self._done[stage], self._last = done, now
        self._left_s[stage] = self._seconds[stage] / done * (total - done)
        if stage == "network":
            self._patches_left = done < total
        remaining_s, elapsed_s = sum(self._left_s.values()), now - self._started
        share = elapsed_s / max(elapsed_s + remaining_s, 1e-9)
        self._fraction = max(self._fraction, STARTS["network"] + (1 - STARTS["network"]) * share)
        return {**event, "fraction": self._fraction, "remaining_s": remaining_s}
