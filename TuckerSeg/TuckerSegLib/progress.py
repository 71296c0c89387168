"""How far a whole run is: one growing fraction over all stages, for a bar that never goes back.

The stages' shares are typical ones; the network's own progress, which is most of a run, is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Event = dict[str, Any]
SHARES = {  # of a cold run; a stage that is skipped gives its share to none, the bar jumps over it
    "read": 0.02,
    "load": 0.03,
    "compress": 0.05,
    "prepare": 0.10,
    "preprocess": 0.05,
    "network": 0.75,
}


class ProgressTracker:
    """Adds ``fraction``, 0 to 1, to stage and progress events, and passes all of them on.

    Args:
        on_event: Receives the events.
    """

    def __init__(self, on_event: Callable[[Event], None]):
        self._on_event = on_event
        self._fraction = 0.0

    def __call__(self, event: Event) -> None:
        if event.get("stage") in SHARES:
            before = 0.0
            for stage, share in SHARES.items():
                if stage == event["stage"]:
                    break
                before += share
            part = event["done"] / max(event["total"], 1) if event["event"] == "progress" else 0.0
            self._fraction = max(self._fraction, before + SHARES[event["stage"]] * part)
            event = {**event, "fraction": self._fraction}
        self._on_event(event)
