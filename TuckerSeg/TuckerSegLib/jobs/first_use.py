"""Says before networks are calibrated and compressed what that takes, and remembers what it took."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..cache import Cache
from ..errors import TuckerSegError
from ..image import Image
from ..measurements import Measurements
from ..models.task import SegmentationTask
from ..records.estimate import Estimate
from ..segmentation.lent import Lent

Event = dict[str, Any]


class FirstUse:
    """Listens to a run. When a network is about to be calibrated, a ``log`` tells of it and of all that follow.

    A run whose networks are all in the cache costs nothing here.

    Args:
        cache: Where calibrations and measurements are.
        on_event: Receives the events.
        clock: Seconds.
    """

    def __init__(self, cache: Cache, on_event: Callable[[Event], None], clock: Callable[[], float] = time.perf_counter):
        self._cache, self._measurements = cache, Measurements(cache)
        self._on_event, self._clock = on_event, clock
        self._task: SegmentationTask | None = None
        self._number, self._told = 0, False
        self._running: tuple[float, float] | None = None  # when it began, and its usual seconds

    def follow(self, task: SegmentationTask, volume: Lent[Image]) -> None:
        """Say what is run, and on which volume; nothing is told before."""
        self._task, self._volume = task, volume

    def __call__(self, event: Event) -> None:
        self._on_event(event)
        if event["event"] == "part":
            self._number = event["number"]
        elif event["event"] == "stage" and event["stage"] == "calibrate" and self._task is not None:
            self._begin(self._task)
        elif event["event"] == "stage" and event["stage"] in ("refit", "prepare"):
            self._end()

    def _begin(self, task: SegmentationTask) -> None:
        # Not at the top: runs of networks that are in the cache begin sooner without the parts that estimate.
        from ..estimation.first_use import first_use_words, here, in_words
        from ..estimation.network import Estimator

        part, count = task.parts[self._number], len(task.parts) - self._number
        try:
            estimator = Estimator(part.facts().without_weights(), self._measurements, self._cache, part.load)
            estimate = estimator.estimate(self._volume.lend().geometry, task.resolved)
        except TuckerSegError:  # which the run itself will tell
            return
        if estimate.first_use_seconds:
            self._running = self._clock(), estimate.first_use_seconds / here(1.0, self._measurements)
        estimate = _of_alike(estimate, count)  # as networks of a task are
        seconds, words = estimate.first_use_seconds, first_use_words(estimate)
        if words is None:
            return
        if self._told and seconds is not None:
            words = f"Calibrating and compressing takes about {in_words(seconds)} more."
        self._told = True
        self._on_event({"event": "log", "message": words})

    def _end(self) -> None:
        if self._running is not None:
            from ..estimation.first_use import remember_first_use

            began, usual_s = self._running
            remember_first_use(self._clock() - began, usual_s, self._measurements)
            self._running = None


def _of_alike(estimate: Estimate, count: int) -> Estimate:
    """What is estimated of one network, of several that are built alike."""
    names = ("first_use_seconds", "seconds", "original_seconds", "original_macs_per_volume")
    values = {name: getattr(estimate, name) for name in names}
    several = {name: None if value is None else value * count for name, value in values.items()}
    return replace(estimate, parts=estimate.parts * count, **several)
