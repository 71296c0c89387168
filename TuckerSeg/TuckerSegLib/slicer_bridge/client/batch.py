"""A batch: one run after the other, with a row of what became of each. What goes wrong with one does not end it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...errors import TuckerSegError
from ...records.protocol import FINAL_EVENTS
from .batch_items import BatchItem
from .delay import Delay
from .segmentation_run import RunSettings
from .session import Session
from .volume_transfer import error_event
from .worker_process import Event, Listener

WAITING, RUNNING, DONE, FAILED, SKIPPED, CANCELLED = "waiting", "running", "done", "failed", "skipped", "cancelled"


@dataclass
class BatchRow:
    """What became of one input.

    Attributes:
        state: ``waiting``, ``running``, ``done``, ``failed``, ``skipped`` or ``cancelled``.
        seconds: From the start of its run to its end.
        structures: How many were found.
        outcome: Where the result is, or why there is none.
        warnings: What the run found doubtful.
    """

    item: BatchItem
    state: str = WAITING
    seconds: float | None = None
    structures: int | None = None
    outcome: str = ""
    warnings: tuple[str, ...] = ()


class Batch:
    """Runs from :meth:`start` until each input has had its turn, or until somebody cancels.

    Args:
        session: What runs them; it must be idle.
        items: The inputs, in their order.
        settings: Of all runs.
        on_event: Receives the events of the runs, with ``volume_number`` and ``volume_count``; of their last events,
            the errors alone.
        on_row: Receives the number of a row that has changed.
        on_end: Called when it is over.
    """

    def __init__(
        self,
        session: Session,
        items: Sequence[BatchItem],
        settings: RunSettings,
        on_event: Listener,
        on_row: Callable[[int], None],
        on_end: Callable[[], None],
    ):
        self._session, self._settings = session, settings
        self._on_event, self._on_row, self._on_end = on_event, on_row, on_end
        self.rows = [BatchRow(item) for item in items]
        self.running = False
        self.cancelled = False
        self._number = -1
        self._started_at = 0.0
        self._soon = Delay(0, self._next)  # not within the last run's own event, whose listeners may be many

    def start(self) -> None:
        """Begin; returns at once."""
        self.running = True
        self._soon.start()

    def cancel(self) -> None:
        """End the run that goes on, and begin no other; rows that are done stay."""
        if not self.running or self.cancelled:
            return
        self.cancelled = True
        if 0 <= self._number < len(self.rows) and self.rows[self._number].state == RUNNING:
            self._session.cancel()  # its last event ends the batch
        else:
            self._finish()

    def count(self, *states: str) -> int:
        """How many inputs are in one of some states."""
        return sum(row.state in states for row in self.rows)

    def _next(self) -> None:
        if not self.running:
            return
        self._number += 1
        if self.cancelled or self._number >= len(self.rows):
            self._finish()
            return
        row = self.rows[self._number]
        row.outcome = row.item.why_skipped()
        if row.outcome:
            self._end_row(SKIPPED)
            return
        row.state, self._started_at = RUNNING, time.perf_counter()
        self._on_row(self._number)
        try:
            row.item.start(self._session, self._settings, self._on_run)
        except TuckerSegError as error:
            self._fail(error_event(error))
        except Exception as error:  # whatever is wrong with one, the others have their turn
            self._fail({**error_event(error), "details": traceback.format_exc()})

    def _on_run(self, event: Event) -> None:
        row, kind = self.rows[self._number], event["event"]
        if row.state != RUNNING:
            return
        if kind not in FINAL_EVENTS:
            self._tell(event)
        elif kind == "result":
            statistics = event["statistics"]
            row.structures = len(statistics.structures)
            row.warnings = statistics.quality.warnings if statistics.quality is not None else ()
            row.outcome = row.item.result(event)
            self._end_row(DONE)
        elif kind == "error":
            self._fail(event)
        else:
            self.cancelled = True  # whoever cancelled the run, the user wants no more
            self._end_row(CANCELLED)

    def _fail(self, event: Event) -> None:
        self.rows[self._number].outcome = " ".join(filter(None, (event["message"], event.get("advice"))))
        self._tell(event)
        self._end_row(FAILED)

    def _tell(self, event: Event) -> None:
        self._on_event({**event, "volume_number": self._number, "volume_count": len(self.rows)})

    def _end_row(self, state: str) -> None:
        row = self.rows[self._number]
        if row.state == RUNNING:
            row.seconds = time.perf_counter() - self._started_at
        row.state = state
        self._on_row(self._number)
        self._soon.start()

    def _finish(self) -> None:
        self.running = False
        self._soon.stop()
        for number, row in enumerate(self.rows):
            if row.state == WAITING:
                row.state = CANCELLED
                self._on_row(number)
        self._on_end()
