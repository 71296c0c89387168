"""Batch: all volumes of the scene, or the CTs of a folder, one after the other, with a table of what was done."""

from __future__ import annotations

import os
from collections.abc import Sequence

import qt
import slicer
from slicer.i18n import tr as _

from ...errors import TuckerSegError
from ...printable import one_line
from ..client.batch import DONE, FAILED, RUNNING, SKIPPED, Batch, BatchRow
from ..client.batch_items import BatchItem, VolumeItem, file_items
from ..client.segmentation_run import RunSettings, in_scene
from ..client.worker_process import Event
from ..scene.slice_views import show_volume
from ..scene.volumes import volumes_of_scene
from ..words import plain, seconds_in_words
from .context import PanelContext
from .item_views import make_rows_compact
from .labels import show_if_any, show_words
from .section import Section

SCENE, FOLDER = "scene", "folder"
ENDINGS = (".seg.nrrd", ".nii.gz")
TITLES = ("input", "state", "seconds", "structures", "result")


class BatchSection(Section):
    """Where the volumes come from and the results go, the button, and the table. A click on a row shows its result."""

    def __init__(self, context: PanelContext):
        self._context, self._ui = context, context.ui
        self.batch: Batch | None = None
        self._asked = 0  # number of the question which images a folder holds; another one makes its answer worthless
        self._asking = False
        ui = self._ui
        ui.batchSourceComboBox.addItem(_("All volumes of the scene"), SCENE)
        ui.batchSourceComboBox.addItem(_("A folder of CTs"), FOLDER)
        for ending in ENDINGS:
            ui.batchFormatComboBox.addItem(ending, ending)
        ui.batchTable.setColumnCount(len(TITLES))
        ui.batchTable.setHorizontalHeaderLabels([_(title) for title in TITLES])
        ui.batchTable.horizontalHeader().setStretchLastSection(True)
        make_rows_compact(ui.batchTable)
        ui.batchSourceComboBox.connect("activated(int)", lambda *_: self.refresh())
        for name in ("Folder", "Output"):
            edit, button = getattr(ui, f"batch{name}Edit"), getattr(ui, f"batch{name}Button")
            edit.connect("textChanged(QString)", lambda *_: self.refresh())
            button.connect("clicked(bool)", lambda *_, edit=edit: self._on_browse(edit))
        ui.batchButton.connect("clicked(bool)", self._on_button)
        ui.batchTable.connect("cellClicked(int,int)", self._on_row)

    @property
    def running(self) -> bool:
        """Whether a batch goes on."""
        return self._asking or (self.batch is not None and self.batch.running)

    def refresh(self) -> None:
        ui = self._ui
        if self._context.parameters is None:
            return
        ui.batchFolderFrame.visible = self._source() == FOLDER
        ui.batchTable.visible = self.batch is not None
        ui.batchButton.text = _("Cancel") if self.running else _("Segment all")
        problem = "" if self.running else self._problem() or ""
        others = self._context.busy_with is not None and not self.running  # a batch that was closed may still be ending
        cancelling = self.batch is not None and self.batch.running and self.batch.cancelled
        ui.batchButton.enabled = not problem and not others and not cancelling
        ui.batchButton.toolTip = plain(problem)
        show_if_any(ui.batchProblemLabel, problem, "bad")

    def close(self) -> None:
        if self._asking:
            self._end_asking("")
        batch, self.batch = self.batch, None  # its rows hold nodes, and names of patients
        if batch is not None:
            batch.cancel()
        self._ui.batchTable.setRowCount(0)
        show_words(self._ui.batchNoteLabel, "")

    def _source(self) -> str:
        return self._ui.batchSourceComboBox.itemData(self._ui.batchSourceComboBox.currentIndex)

    def _folders(self) -> tuple[str, str]:
        """Of the CTs and of the results, as they were typed or chosen."""
        return self._ui.batchFolderEdit.text.strip(), self._ui.batchOutputEdit.text.strip()

    def _problem(self) -> str | None:
        """Why no batch can begin, in words; None where one can."""
        if not self._context.packages_ready:
            return _("Python packages are missing.")
        if self._source() == SCENE:
            return self._context.choice.problem_of_model() if volumes_of_scene() else _("The scene has no volume.")
        return self._problem_of_folders(*self._folders()) or self._context.choice.problem_of_model()

    def _problem_of_folders(self, folder: str, output: str) -> str | None:
        if not (folder and output):
            return _("Choose the folder of the CTs, and another one for the results.")
        for each in (folder, output):
            if not os.path.isabs(each):
                return _("'{path}' is not the whole path of a folder.").format(path=each)
        if os.path.realpath(folder) == os.path.realpath(output):
            return _("The results need a folder of their own: another batch would take them for CTs.")
        return None

    def _on_browse(self, edit: qt.QLineEdit) -> None:
        path = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Folder"), edit.text)
        if path:
            edit.text = str(path)

    def _on_button(self) -> None:
        if self.running:
            self._cancel()
            return
        try:
            settings = self._context.choice.settings()  # now: nothing is chosen while a scene is read
        except TuckerSegError as error:
            self._end_asking(str(error), "bad")
            return
        if self._source() == SCENE:
            self._start([VolumeItem(node, node.GetName()) for node in volumes_of_scene()], settings)
        else:
            self._ask_for_images(settings)

    def _cancel(self) -> None:
        if self._asking:
            self._end_asking("")
        else:
            self.batch.cancel()
            self._context.refresh()

    def _ask_for_images(self, settings: RunSettings) -> None:
        """Let the worker, which can read them, tell which images the folder holds."""
        self._asked += 1
        number, (folder, output) = self._asked, self._folders()
        self._asking, self._context.busy_with = True, "batch"
        show_words(self._ui.batchNoteLabel, _("Looking for images…"))
        self._context.refresh()
        self._context.ask(
            "list_images",
            lambda event: self._on_images(number, output, settings, event),
            lambda event: self._on_no_images(number, event),
            lambda: self._on_no_answer(number),
            folder=folder,
        )

    def _on_images(self, number: int, output: str, settings: RunSettings, event: Event) -> None:
        if not self._asking or number != self._asked:
            return
        self._asking = False
        ending, replaces = self._ui.batchFormatComboBox.currentText, self._ui.batchReplaceCheckBox.checked
        self._start(file_items(event["images"], output, ending, replaces), settings)

    def _on_no_images(self, number: int, event: Event) -> None:
        if self._asking and number == self._asked:
            self._context.status.log_error(event)
            self._end_asking(event["message"], "bad")

    def _on_no_answer(self, number: int) -> None:
        if self._asking and number == self._asked:
            self._end_asking(_("Cancelled."))

    def _end_asking(self, words: str, hue: str = "") -> None:
        self._asking, self._context.busy_with = False, None
        show_words(self._ui.batchNoteLabel, words, hue)
        self._context.refresh()

    def _start(self, items: Sequence[BatchItem], settings: RunSettings) -> None:
        context = self._context
        context.run_begins.emit()
        context.status.clear_log()
        context.busy_with = "batch"
        context.status.show_bar(True)
        show_words(self._ui.batchNoteLabel, "")
        self.batch = Batch(context.session, items, settings, self._on_event, self._show_row, self._finish)
        self._ui.batchTable.setRowCount(len(items))
        for number in range(len(items)):
            self._show_row(number)
        self.batch.start()
        context.refresh()

    def _on_event(self, event: Event) -> None:
        kind = event["event"]
        self._context.status.follow(event)
        if kind == "error":
            self._context.status.log_error(event)

    def _show_row(self, number: int) -> None:
        if self.batch is None:  # closed meanwhile
            return
        row, table = self.batch.rows[number], self._ui.batchTable
        if row.state == RUNNING:
            self._context.status.show_bar(True)  # anew
        for column, text in enumerate(_cells(row)):
            item = qt.QTableWidgetItem(one_line(text))
            item.setToolTip(plain(text))
            table.setItem(number, column, item)
        for column in range(len(TITLES) - 1):
            table.resizeColumnToContents(column)
        if row.state == DONE and isinstance(row.item, VolumeItem) and self._context.parameters is not None:
            self._show_alone(self._context.choice.volume)

    def _show_alone(self, volume_node: slicer.vtkMRMLScalarVolumeNode | None) -> None:
        """Of the results, show that of a volume: those of others would lie over it."""
        for row in self.batch.rows:
            node = row.item.segmentation_node if isinstance(row.item, VolumeItem) else None
            if in_scene(node):
                node.SetDisplayVisibility(row.item.volume_node is volume_node)

    def _finish(self) -> None:
        context = self._context
        context.busy_with = None
        context.status.show_bar(False)
        context.status.say("")
        if self.batch is not None:
            self._tell_end(self.batch)
        if context.parameters is not None and not context.parameters.keepWorkerWarm:
            context.session.close()
        context.run_ended.emit()
        context.refresh()

    def _tell_end(self, batch: Batch) -> None:
        words = _("{done} of {count} are done.").format(done=batch.count(DONE), count=len(batch.rows))
        if batch.cancelled:
            words = _("Cancelled.") + " " + words
        if failed := batch.count(FAILED):
            words += " " + _("{count} failed: see the table, and the log.").format(count=failed)
        if skipped := batch.count(SKIPPED):
            note = _("{count} were not segmented: a file of that name exists, maybe of another CT.")
            words += " " + note.format(count=skipped)
        show_words(self._ui.batchNoteLabel, words, "bad" if failed else "")

    def _on_row(self, number: int, column: int = 0) -> None:
        """Tell a row's result in full; choose its volume and its segmentation, and show them alone."""
        if self.batch is None or number >= len(self.batch.rows):
            return
        row = self.batch.rows[number]
        show_words(self._ui.batchNoteLabel, _cells(row)[-1], "bad" if row.state == FAILED else "")
        item = row.item
        if not isinstance(item, VolumeItem) or not in_scene(item.volume_node):
            return
        show_volume(item.volume_node)
        self._show_alone(item.volume_node)
        self._context.change(inputVolume=item.volume_node)
        if in_scene(item.segmentation_node):
            self._context.change(outputSegmentation=item.segmentation_node)


def _cells(row: BatchRow) -> tuple[str, ...]:
    outcome = row.outcome
    if row.state == DONE and not row.structures:
        outcome = " ".join(filter(None, (outcome, _("No structures were found."))))
    if row.warnings:
        outcome += " " + _("Warnings: {words}").format(words=" ".join(row.warnings))
    return (
        row.item.name,
        _(row.state),
        "" if row.seconds is None else seconds_in_words(row.seconds),
        "" if row.structures is None else str(row.structures),
        outcome,
    )
