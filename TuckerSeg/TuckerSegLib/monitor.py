"""Seconds per stage of a run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

Event = dict[str, Any]
Listener = Callable[[Event], None]


def deaf(event: Event) -> None:
    """The listener of a caller who wants no events."""


class Stopwatch:
    """Seconds per stage; a stage may be entered again. Tells a listener of each stage's start."""

    def __init__(self, on_event: Listener = deaf):
        self.seconds: dict[str, float] = {}
        self._on_event = on_event
        self._started = time.perf_counter()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._on_event({"event": "stage", "stage": name})
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - started)

    def add(self, name: str, seconds: float) -> None:
        """Count seconds that somebody else took the time of."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def with_total(self) -> dict[str, float]:
        """Seconds per stage, and ``total`` since the stopwatch was made."""
        return {**self.seconds, "total": time.perf_counter() - self._started}
