"""Results: what the run of the chosen segmentation cost and found; copy, save, 3D, names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ...errors import TuckerSegError
from ...records.statistics import RunStatistics
from ...text_files import csv_text, write_text
from ..scene.segmentations import rename_segments
from ..scene.statistics_nodes import (
    COST_ROLE,
    STRUCTURES_ROLE,
    cost_columns,
    statistics_of,
    structure_columns,
    table_of,
)
from ..words import plain, seconds_in_words
from .context import PanelContext
from .item_views import make_rows_compact
from .labels import paragraph
from .section import Section

STANDARD, SHORT = "standard", "short"
WIDEST_COLUMN = 150


class ResultsSection(Section):
    """Tables of the segmentation that the output selector shows."""

    def __init__(self, context: PanelContext):
        self._context, self._ui = context, context.ui
        ui = self._ui
        for view in (ui.costTableView, ui.structureTableView):
            make_rows_compact(view)
        ui.namesComboBox.addItem(_("Standard names and terminology"), STANDARD)
        ui.namesComboBox.addItem(_("Short names of the model"), SHORT)
        ui.namesComboBox.connect("activated(int)", self._on_names)
        ui.copyResultsButton.connect("clicked(bool)", self._on_copy)
        ui.saveResultsButton.connect("clicked(bool)", self._on_save)
        context.segmented.connect(self._on_segmented)

    def refresh(self) -> None:
        parameters = self._context.parameters
        self._ui.namesComboBox.currentIndex = 0 if parameters.standardNames else 1
        node = parameters.outputSegmentation
        self._ui.costTableView.setMRMLTableNode(table_of(node, COST_ROLE))
        self._ui.structureTableView.setMRMLTableNode(table_of(node, STRUCTURES_ROLE))
        for view in (self._ui.costTableView, self._ui.structureTableView):
            _fit_columns(view)
        statistics = statistics_of(node)
        label = self._ui.resultsLabel
        label.text = _summary(statistics, label) if statistics else _("No run yet.")
        for button in (self._ui.copyResultsButton, self._ui.saveResultsButton):
            button.enabled = statistics is not None

    def _on_segmented(self, statistics: RunStatistics, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        self._tell(statistics, node)

    def _tell(self, statistics: RunStatistics, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        """Show in the status line how a run ended."""
        if node is None:
            self._context.status.say(" ".join(statistics.notes) or _("No structures were found."))
            return
        self._ui.resultsCollapsibleButton.collapsed = False
        words = _("{count} structures in {time}.").format(
            count=len(statistics.structures), time=seconds_in_words(statistics.seconds["total"])
        )
        warnings = len(_warnings(statistics))
        if warnings:
            words += " " + _("Warnings: {count}, see Results.").format(count=warnings)
        parameters = self._context.parameters
        if parameters is None or parameters.outputSegmentation is not node:  # the panel shows another volume by now
            words = f"{node.GetName()}: {words}"
        self._context.status.say(words)
        for note in statistics.notes:
            self._context.status.log(note)

    def save(self, path: Path) -> None:
        """Write both tables to a CSV file.

        Raises:
            OutputError: It cannot be written.
        """
        write_text(path, self._text(","))

    def _text(self, delimiter: str) -> str:
        statistics = statistics_of(self._context.parameters.outputSegmentation)
        rows: list[Any] = []
        for columns in (cost_columns(statistics), structure_columns(statistics)):
            rows += [columns, *zip(*columns.values()), ()]
        return csv_text(rows, delimiter, digits=None)

    def _on_names(self, index: int) -> None:
        standard = self._ui.namesComboBox.itemData(index) == STANDARD
        self._context.change(standardNames=standard)
        node = self._context.parameters.outputSegmentation
        if node is not None:
            rename_segments(node, standard)

    def _on_copy(self) -> None:
        qt.QApplication.clipboard().setText(self._text("\t"))
        slicer.util.showStatusMessage(_("The tables are in the clipboard."), 2000)

    def _on_save(self) -> None:
        path = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), _("Save statistics"), "", "CSV (*.csv)")
        if not path:
            return
        try:
            self.save(Path(path))
        except TuckerSegError as error:
            slicer.util.errorDisplay(plain(str(error)))


def _summary(statistics: RunStatistics, label: qt.QLabel) -> str:
    """Rich text: the warnings first, in a color that is seen, then what was found."""
    s = statistics
    saved = s.original_macs_per_volume / s.macs_per_volume if s.macs_per_volume else 1.0
    words = _("{model}, {compression}: {count} structures in {time}, {saved:.2f} times fewer FLOPs.").format(
        model=s.model,
        compression=s.compression,
        count=len(s.structures),
        time=seconds_in_words(s.seconds["total"]),
        saved=saved,
    )
    if s.computed_shape is not None:
        shape = " × ".join(map(str, s.computed_shape))
        words += " " + _("Only a box of {shape} voxels (Z Y X) was computed.").format(shape=shape)
    warnings = [_("Warning: {words}").format(words=each) for each in _warnings(s)]
    return "\n".join([*(paragraph(label, each, "bad") for each in warnings), paragraph(label, words)])


def _warnings(statistics: RunStatistics) -> tuple[str, ...]:
    return statistics.quality.warnings if statistics.quality is not None else ()


def _fit_columns(view: qt.QTableView) -> None:
    """As wide as their contents, but for long words such as a processor's name."""
    view.resizeColumnsToContents()
    for column in range(view.model().columnCount()):
        view.setColumnWidth(column, min(view.columnWidth(column), WIDEST_COLUMN))
