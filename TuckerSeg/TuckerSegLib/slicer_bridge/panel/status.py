"""The progress bar, the status line and the log, in which all sections show the progress of their work."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ...printable import indented
from ...records.statistics import STAGE_TITLES
from ..client.worker_process import Event
from ..words import bytes_in_words, seconds_in_words
from .labels import show_words

BAR_STEPS = 1000
STAGES_OF_BYTES = ("download", "unpack")  # before the run, with a bar of their own
LOG_LINES = 2000


class StatusDisplay:
    """One for the whole panel."""

    def __init__(self, ui: Any):
        self._ui = ui
        self._stage: str | None = None
        ui.logText.maximumBlockCount = LOG_LINES
        ui.copyLogButton.connect("clicked(bool)", self._on_copy)

    def say(self, words: str, hue: str = "") -> None:
        """Show one line of status.

        Args:
            hue: See ``colors.HUES``; empty for what is neither good nor bad.
        """
        show_words(self._ui.statusLabel, words, hue)

    def log(self, line: str) -> None:
        """Add a line to the log."""
        self._ui.logText.appendPlainText(indented(line))

    def log_error(self, event: Event) -> None:
        """Add what went wrong to the log, with its details."""
        for line in filter(None, (event["message"], event.get("advice"), event.get("details"))):
            self.log(line)

    def follow(self, event: Event) -> None:
        """Show an event of a run where it is one of its progress or of its log; others are left to the caller."""
        if event["event"] in ("stage", "progress"):
            self.show_progress(event)
        elif event["event"] == "log":
            self.log(event["message"])

    def clear_log(self) -> None:
        """Begin a new log."""
        self._ui.logText.plainText = ""

    def show_bar(self, visible: bool) -> None:
        """Show an empty bar, or none."""
        self._stage = None
        self._ui.progressBar.visible = visible
        self._ui.progressBar.value = 0
        self._ui.progressBar.format = ""

    def show_progress(self, event: Event) -> None:
        """Show a stage or progress event in bar and status."""
        stage = event["stage"]
        self._move_bar(event)
        place = _place(event)
        title = _(STAGE_TITLES.get(stage, stage))
        remaining = event.get("remaining_s")
        left = _(", {time} left").format(time=seconds_in_words(remaining)) if remaining is not None else ""
        if event["event"] == "stage" and stage != "hand over":
            self.log(f"{place}{title}")
        self.say(f"{place}{title}{_amount(event)}{left}")

    def _move_bar(self, event: Event) -> None:
        bar, stage = self._ui.progressBar, event["stage"]
        if stage in STAGES_OF_BYTES:
            if event.get("total"):
                bar.value = round(BAR_STEPS * event["done"] / event["total"])
        elif self._stage in STAGES_OF_BYTES:
            bar.value = 0
        if event.get("fraction") is not None and stage != "hand over":
            bar.value = max(bar.value, round(BAR_STEPS * event["fraction"]))
        if stage != "hand over":
            self._stage = stage

    def _on_copy(self) -> None:
        qt.QApplication.clipboard().setText(self._ui.logText.plainText)
        slicer.util.showStatusMessage(_("The log is in the clipboard."), 2000)


def _place(event: Event) -> str:
    """Which volume of a batch, which frame of a sequence and which network of a task an event is of."""
    words = ""
    if "volume_count" in event:
        words = _("Volume {number} of {count}: ").format(number=event["volume_number"] + 1, count=event["volume_count"])
    if "frame" in event:
        words = _("Frame {number} of {count}: ").format(number=event["frame"] + 1, count=event["frames"])
    if "part" in event:
        words += _("{name} ({number} of {count}): ").format(
            name=event["part_name"].capitalize(), number=event["part"], count=event["parts"]
        )
    return words


def _amount(event: Event) -> str:
    """How much of a stage is done."""
    if not event.get("total"):
        return ""
    if event["stage"] in STAGES_OF_BYTES:
        done = f"{event['done'] / 1e6:.0f}"
        return _(" ({done} of {total})").format(done=done, total=bytes_in_words(event["total"]))
    return f" ({event['done']}/{event['total']})"
