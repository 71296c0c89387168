"""What a request's handler may do beside computing: tell how far it is, and ask whether it is still wanted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import Cancelled


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
