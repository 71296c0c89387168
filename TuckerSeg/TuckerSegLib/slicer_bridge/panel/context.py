"""What the panel's sections share: they know it and not each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import TuckerSegError
from ...records.protocol import FINAL_EVENTS
from ..client.session import Session
from ..client.volume_transfer import error_event
from ..client.worker_process import Event
from .choice import Choice
from .signal import Signal
from .status import StatusDisplay


class PanelContext:
    """Widgets, worker, choice and status, and the signals by which sections hear of each other.

    Args:
        ui: Widgets by their object names.
        session: The worker.

    Attributes:
        choice: What the user has chosen.
        status: Bar, line of status and log.
        packages_ready: Whether the worker's Python has what it needs, as far as is known.
        busy_with: ``run``, ``comparison`` or ``batch`` while one goes on.
        changed: Something that sections show is another.
        run_begins: A run is about to start.
        segmented: A run has left its result: statistics, and the segmentation node or None.
        run_ended: A run, a comparison or a batch is over, however: models may have come, speeds are known.
        models_changed: Models on this computer are others.
        packages_changed: The worker's Python is another, or has other packages.
    """

    def __init__(self, ui: Any, session: Session):
        self.ui, self.session = ui, session
        self.choice = Choice()
        self.status = StatusDisplay(ui)
        self.packages_ready = False
        self.busy_with: str | None = None
        self.changed = Signal()
        self.run_begins = Signal()
        self.segmented = Signal()
        self.run_ended = Signal()
        self.models_changed = Signal()
        self.packages_changed = Signal()
        self._refreshing = False

    @property
    def parameters(self) -> Any:
        """The typed parameter node; None while none is followed."""
        return self.choice.parameters

    def refresh(self) -> None:
        """Let every section show what is chosen; what they write meanwhile is not taken for the user's."""
        if self.parameters is None or self._refreshing:
            return
        self._refreshing = True
        try:
            self.changed.emit()
        finally:
            self._refreshing = False

    def change(self, **fields: Any) -> None:
        """Write fields of the parameter node, unless the panel is only showing what they are."""
        if self.parameters is None or self._refreshing:
            return
        for name, value in fields.items():
            if getattr(self.parameters, name) != value:
                setattr(self.parameters, name, value)

    def ask(
        self,
        kind: str,
        on_result: Callable[[Event], None],
        on_error: Callable[[Event], None] | None = None,
        on_cancelled: Callable[[], None] = lambda: None,
        **fields: Any,
    ) -> None:
        """Ask the worker something that changes no scene; an error goes to the log unless somebody takes it.

        Args:
            on_cancelled: Called where no answer comes any more: the worker was stopped, or has a later question.
        """
        if not self.packages_ready or self.parameters is None:
            return

        def receive(event: Event) -> None:
            if event["event"] == "result":
                on_result(event)
            elif event["event"] == "error":
                (on_error or self.status.log_error)(event)
            elif event["event"] in FINAL_EVENTS:
                on_cancelled()

        try:
            self.session.worker.request(kind, receive, **fields)
        except TuckerSegError as error:  # its folder cannot be made
            receive(error_event(error))
