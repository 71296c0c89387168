"""How far a whole run is and how long it will still take, for a bar that never goes back.

Network and labeling take turns and differ much from volume to volume, so each is timed on its own. The stages before
them cannot be timed from within; they have typical shares of the bar. Of a task of several networks each has an equal
part of the bar, and is expected to take as long as those before it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

Event = dict[str, Any]
STARTS = {  # fraction of a cold run at which a stage begins; what is skipped is jumped over
    "read": 0.0,
    "load": 0.02,
    "measure": 0.03,
    "calibrate": 0.05,
    "compress": 0.05,
    "refit": 0.08,
    "prepare": 0.10,
    "preprocess": 0.20,
    "network": 0.25,
}
STARTS_OF_A_FIRST_USE = STARTS | {  # of a network that is calibrated, which takes most of the time
    "compress": 0.5,
    "refit": 0.65,
    "prepare": 0.75,
    "preprocess": 0.8,
    "network": 0.82,
}
MEASURED = ("network", "finish")


class ProgressTracker:
    """Adds ``fraction`` (0 to 1) and ``remaining_s`` to the events of a run, and passes them on.

    While patches still come, labeled planes are timed but not told: a status line would jump between the two. Of a
    ``part`` event (its ``number`` from 0, ``count`` and ``name``) the events after it tell: they get ``part`` (from 1),
    ``parts`` and ``part_name``.

    Args:
        on_event: Receives the events.
        clock: Seconds.
    """

    def __init__(self, on_event: Callable[[Event], None], clock: Callable[[], float] = time.perf_counter):
        self._on_event, self._clock = on_event, clock
        self._number, self._count, self._name = 0, 1, ""
        self._fraction = 0.0
        self._expected_finish_s: float | None = None
        self._done_s = 0.0
        self._begin()

    def expect_finish(self, seconds: float) -> None:
        """Count on so many seconds of labeling for each network, until its first plane is labeled."""
        self._expected_finish_s = seconds
        self._left_s.setdefault("finish", seconds)

    def __call__(self, event: Event) -> None:
        if event["event"] == "part":
            self._next(event)
            return
        if event["event"] == "progress" and event["stage"] in MEASURED:
            event = self._measured(event)
            if event["stage"] == "finish" and self._patches_left:
                return
        elif event.get("stage") in STARTS:
            if event["stage"] == "calibrate":
                self._starts = STARTS_OF_A_FIRST_USE
            event = {**event, "fraction": self._overall(self._fraction_of_network(event))}
            if event["stage"] == "network":
                self._started = self._last = self._clock()
        if self._count > 1 and event["event"] in ("stage", "progress"):
            event = {**event, "part": self._number + 1, "parts": self._count, "part_name": self._name}
        self._on_event(event)

    def _begin(self) -> None:
        """A network of which nothing is known yet."""
        self._began = self._started = self._last = self._clock()
        self._starts = STARTS
        self._seconds: dict[str, float] = {}
        self._done: dict[str, int] = {}
        self._left_s: dict[str, float] = {}
        if self._expected_finish_s is not None:
            self._left_s["finish"] = self._expected_finish_s
        self._patches_left = True

    def _next(self, event: Event) -> None:
        if event["number"]:
            self._done_s += self._clock() - self._began
            self._begin()
        else:  # what came before, such as reading the image, belongs to the first; or the run begins again
            self._done_s = 0.0
        self._number, self._count, self._name = event["number"], event["count"], event["name"]

    def _fraction_of_network(self, event: Event) -> float:
        """Where in the bar of a network a stage is, before patches are counted."""
        start = self._starts[event["stage"]]
        if event["event"] != "progress" or not event.get("total"):
            return start
        end = min((each for each in self._starts.values() if each > start), default=1.0)
        return start + (end - start) * event["done"] / event["total"]

    def _overall(self, fraction: float) -> float:
        """Fraction of the whole run at a fraction of this network."""
        self._fraction = max(self._fraction, (self._number + fraction) / self._count)
        return self._fraction

    def _measured(self, event: Event) -> Event:
        stage, done, total, now = event["stage"], event["done"], event["total"], self._clock()
        if done <= self._done.get(stage, 0):  # begun again, after running out of memory
            self._seconds[stage] = 0.0
        self._seconds[stage] = self._seconds.get(stage, 0.0) + now - self._last
        self._done[stage], self._last = done, now
        self._left_s[stage] = self._seconds[stage] / done * (total - done)
        if stage == "network":
            self._patches_left = done < total
        left_s, elapsed_s = sum(self._left_s.values()), now - self._started
        share = elapsed_s / max(elapsed_s + left_s, 1e-9)
        start = self._starts["network"]
        fraction = self._overall(start + (1 - start) * share)
        mean_s = (self._done_s + now - self._began + left_s) / (self._number + 1)
        remaining_s = left_s + mean_s * (self._count - self._number - 1)
        return {**event, "fraction": fraction, "remaining_s": remaining_s}
