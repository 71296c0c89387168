"""Seconds per stage of a run."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .errors import Cancelled

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


def stop_if(cancelled: Callable[[], bool]) -> None:
    """Raise Cancelled where ``cancelled`` says so."""
    if cancelled():
        raise Cancelled("The run was cancelled.")


@contextlib.contextmanager
def warnings_as_events(on_event: Listener) -> Iterator[list[str]]:
    """Collect the library's own warnings as notes, and tell of them at once."""
    collected: list[str] = []

    def show(message, category, filename, lineno, file=None, line=None):
        if "TuckerSegLib" in str(filename):
            collected.append(str(message))
            on_event({"event": "log", "message": str(message)})

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = show
        yield collected


@dataclass(frozen=True)
class Context:
    """One request, as its handler sees it.

    Attributes:
        on_event: Tells of ``stage``, ``progress``, ``log`` and ``row``.
        cancelled: Whether the request is not wanted any more.
    """

    on_event: Callable[[dict[str, Any]], None]
    cancelled: Callable[[], bool]

    def stop_if_cancelled(self) -> None:
        """Raise ``Cancelled`` where the request is not wanted any more."""
        if self.cancelled():
            raise Cancelled("The request was cancelled.")

    def part(self, number: int, count: int) -> Context:
        """One of several runs of a request, counted from 0: its progress is a part of the whole."""
        started = time.perf_counter()

        def forward(event: dict[str, Any]) -> None:
            if "fraction" in event:
                remaining_s = event.get("remaining_s")
                if remaining_s is not None:  # the runs to come take about as long as this one
                    remaining_s += (count - number - 1) * (time.perf_counter() - started + remaining_s)
                event = {**event, "fraction": (number + event["fraction"]) / count, "remaining_s": remaining_s}
            self.on_event(event)

        return Context(forward, self.cancelled)
