"""The one button that segments and cancels, with its bar, its line of status and its log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import qt
import slicer
from slicer.i18n import tr as _

from ...errors import TuckerSegError
from ...printable import indented, printable
from ...records.protocol import FINAL_EVENTS
from ...records.statistics import STAGE_TITLES
from ..client.worker_process import Event
from ..scene.sequences import SequenceRun, browser_of
from ..words import bytes_in_words, plain, seconds_in_words

if TYPE_CHECKING:
    from .panel import Panel

BAR_STEPS = 1000
STAGES_OF_BYTES = ("download", "unpack")  # before the run, with a bar of their own
LOG_LINES = 2000


class RunningSection:
    """Segment and Cancel."""

    def __init__(self, panel: Panel):
        self._panel, self._ui = panel, panel.ui
        self._running = False
        self._stage: str | None = None
        self._ui.logText.maximumBlockCount = LOG_LINES
        self._ui.applyButton.connect("clicked(bool)", self._on_button)
        self._ui.copyLogButton.connect("clicked(bool)", self._on_copy)

    @property
    def running(self) -> bool:
        """Whether a run goes on."""
        return self._running

    def refresh(self) -> None:
        button = self._ui.applyButton
        if self._running:
            return
        problem = self._problem()
        button.text = _("Download and segment") if self._panel.downloading.pending else _("Segment")
        button.enabled = problem is None
        button.toolTip = plain(problem or _("Segment the volume"))

    def enter(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        self._panel.session.cancel()

    def log(self, line: str) -> None:
        """Add a line to the log."""
        self._ui.logText.appendPlainText(indented(line))

    def log_error(self, event: Event) -> None:
        """Add what went wrong to the log, with its details."""
        for line in filter(None, (event["message"], event.get("advice"), event.get("details"))):
            self.log(line)

    def status(self, words: str) -> None:
        """Show one line of status."""
        self._ui.statusLabel.text = printable(words)

    def _problem(self) -> str | None:
        if not self._panel.dependencies.ready:
            return _("Python packages are missing: see the top of this panel.")
        if self._panel.comparing.running:
            return _("Ranks are being compared.")
        return self._panel.inputs.problem()

    def _on_button(self) -> None:
        if self._running:
            self._ui.applyButton.enabled = False
            self.status(_("Cancelling…"))
            self._panel.session.cancel()
        else:
            self._start()

    def _start(self) -> None:
        parameters = self._panel.parameters
        self._panel.previewing.preview.clear()
        self._ui.logText.plainText = ""
        arguments = (parameters.inputVolume, parameters.outputSegmentation)
        self._show_running(True)
        try:
            settings = self._panel.settings()
            if parameters.allFrames and browser_of(parameters.inputVolume) is not None:
                SequenceRun(self._panel.session, *arguments, settings, self._on_event).start()
            else:
                self._panel.session.start(*arguments, settings, self._on_event)
        except TuckerSegError as error:
            self._show_running(False)
            self.status(str(error))

    def _show_running(self, running: bool) -> None:
        self._running = running
        self._stage = None
        self._ui.progressBar.visible = running
        self._ui.progressBar.value = 0
        self._ui.progressBar.format = ""
        self._ui.applyButton.enabled = True
        self._ui.applyButton.text = _("Cancel") if running else _("Segment")
        self._ui.applyButton.toolTip = _("Stop the run; the scene stays as it is") if running else ""
        if running:
            self._ui.downloadLabel.visible = False

    def _on_event(self, event: Event) -> None:
        kind = event["event"]
        if kind in ("stage", "progress"):
            self.show_progress(event)
        elif kind == "log":
            self.log(event["message"])
        elif kind in FINAL_EVENTS:
            self._finish(event)

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
        self.status(f"{place}{title}{_amount(event)}{left}")

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

    def _finish(self, event: Event) -> None:
        self._show_running(False)
        if event["event"] == "result":
            self._panel.results.show_run(event["statistics"], event["segmentation_node"])
            self._panel.change(
                outputSegmentation=event["segmentation_node"] or self._panel.parameters.outputSegmentation
            )
            self._panel.results.make_surfaces(event["segmentation_node"])
        elif event["event"] == "error":
            self.status(" ".join(filter(None, (event["message"], event.get("advice")))))
            self.log_error(event)
        else:
            self.status(_("Cancelled. The scene is as it was."))
        if self._panel.parameters is not None and not self._panel.parameters.keepWorkerWarm:
            self._panel.session.close()
        self._panel.models.look_again()
        self._panel.downloading.look_again()
        self._panel.consequences.measure_again()
        self._panel.refresh()

    def _on_copy(self) -> None:
        qt.QApplication.clipboard().setText(self._ui.logText.plainText)
        slicer.util.showStatusMessage(_("The log is in the clipboard."), 2000)


def _place(event: Event) -> str:
    """Which frame of a sequence and which network of a task an event is of."""
    words = ""
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
