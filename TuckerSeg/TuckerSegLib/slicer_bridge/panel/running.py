"""The one button that segments and cancels."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

from ...errors import TuckerSegError
from ...records.protocol import FINAL_EVENTS
from ..client.worker_process import Event
from ..scene.losses import is_of_another_volume, loss
from ..scene.sequences import SequenceRun, browser_of
from ..words import plain
from .context import PanelContext
from .labels import show_if_any
from .question import Question
from .section import Section


class RunningSection(Section):
    """Segment and Cancel."""

    def __init__(self, context: PanelContext):
        self._context, self._ui = context, context.ui
        self.question = Question(self._ui)
        self._asked_of: tuple = ()
        self._ui.applyButton.connect("clicked(bool)", self._on_button)

    @property
    def running(self) -> bool:
        """Whether a run goes on."""
        return self._context.busy_with == "run"

    def refresh(self) -> None:
        button = self._ui.applyButton
        if self.running:
            return
        problem = self._problem()
        if self.question.asked and (problem is not None or self._asked_of != self._input_and_output()):
            self.question.withdraw()
        button.text = _("Download and segment") if self._context.choice.pending else _("Segment")
        button.enabled = problem is None
        button.toolTip = plain(problem or _("Segment the volume"))
        show_if_any(self._ui.problemLabel, problem or "", "bad")
        show_if_any(self._ui.cautionLabel, "\n".join(self._context.choice.cautions()), "warning")

    def close(self) -> None:
        self.question.withdraw()
        self._asked_of = ()  # nodes of a scene that is closed are not kept
        self._context.session.cancel()

    def _problem(self) -> str | None:
        if not self._context.packages_ready:
            return _("Python packages are missing: see the top of this panel.")
        if self._context.busy_with == "comparison":
            return _("A comparison goes on.")
        if self._context.busy_with == "batch":
            return _("A batch goes on: see Batch.")
        return self._context.choice.problem()

    def _on_button(self) -> None:
        if self.running:
            self._ui.applyButton.enabled = False
            self._context.status.say(_("Cancelling…"))
            self._context.session.cancel()
        else:
            self._ask_or_start()

    def _input_and_output(self) -> tuple:
        return self._context.choice.volume, self._context.parameters.outputSegmentation

    def _ask_or_start(self) -> None:
        """Start, but where something would be lost only when the user has said what to do."""
        self._context.change(inputVolume=self._context.choice.volume)  # what was proposed is chosen by using it
        volume_node, segmentation_node = self._asked_of = self._input_and_output()
        lost = loss(segmentation_node, volume_node)
        if lost is None:
            self._start(segmentation_node)
        else:
            self.question.ask(lost, lambda replaces: self._start(segmentation_node if replaces else None))

    def _start(self, segmentation_node: slicer.vtkMRMLSegmentationNode | None) -> None:
        parameters = self._context.parameters
        self._context.run_begins.emit()
        self._context.status.clear_log()
        arguments = (parameters.inputVolume, segmentation_node)
        self._show_running(True)
        try:
            settings = self._context.choice.settings()
            if self._is_of_all_frames():
                SequenceRun(self._context.session, *arguments, settings, self._on_event).start()
            else:
                self._context.session.start(*arguments, settings, self._on_event, may_replace=True)
        except Exception as error:
            self._show_running(False)
            self._context.status.say(str(error), "bad")
            if not isinstance(error, TuckerSegError):
                raise

    def _show_running(self, running: bool) -> None:
        self._context.busy_with = "run" if running else None
        self._context.status.show_bar(running)
        self._ui.applyButton.enabled = True
        self._ui.applyButton.text = _("Cancel") if running else _("Segment")
        self._ui.applyButton.toolTip = self._words_of_cancel() if running else ""
        if running:
            for label in (self._ui.downloadLabel, self._ui.problemLabel, self._ui.cautionLabel):
                label.visible = False

    def _words_of_cancel(self) -> str:
        if self._is_of_all_frames():
            return _("Stop the run; frames that are done stay")
        return _("Stop the run; the scene stays as it is")

    def _is_of_all_frames(self) -> bool:
        parameters = self._context.parameters
        return parameters.allFrames and browser_of(parameters.inputVolume) is not None

    def _on_event(self, event: Event) -> None:
        kind = event["event"]
        self._context.status.follow(event)
        if kind in FINAL_EVENTS:
            self._finish(event)

    def _finish(self, event: Event) -> None:
        self._show_running(False)
        if event["event"] == "result":
            node, parameters = event["segmentation_node"], self._context.parameters
            if node is not None and parameters is not None and not is_of_another_volume(node, parameters.inputVolume):
                self._context.change(outputSegmentation=node)  # else another volume has been chosen meanwhile
            self._context.segmented.emit(event["statistics"], node)
        elif event["event"] == "error":
            self._context.status.say(" ".join(filter(None, (event["message"], event.get("advice")))), "bad")
            self._context.status.log_error(event)
        else:
            self._context.status.say(_cancelled_in_words(event))
        if self._context.parameters is not None and not self._context.parameters.keepWorkerWarm:
            self._context.session.close()
        self._context.run_ended.emit()
        self._context.refresh()


def _cancelled_in_words(event: Event) -> str:
    """What a run that was cancelled has left: nothing, or the frames of a sequence that are done."""
    if done := event.get("frame", 0):
        return _("Cancelled. {done} of {count} frames are done and stay.").format(done=done, count=event["frames"])
    return _("Cancelled. The scene is as it was.")
