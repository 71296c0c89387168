"""Compare: runs strengths, policies and the original on this volume, and shows what each would have given."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ...catalog.structures import title_of
from ...errors import SpecError, TuckerSegError
from ...printable import one_line
from ...records.comparison import ComparisonRow, Variant
from ...records.protocol import FINAL_EVENTS
from ..client.comparison import Comparison
from ..client.worker_process import Event
from ..scene.crosshair import crosshair_position
from ..words import amount, plain, seconds_in_words
from .context import PanelContext
from .item_views import make_rows_compact
from .labels import show_if_any, show_words
from .section import Section

REGIONS_MM = (None, 200.0, 120.0)
LOWEST_STRENGTH = 0.05
TITLES = ("compression", "agreement", "FLOPs", "seconds", "worst structures")
WORST_SHOWN = 3


class ComparingSection(Section):
    """The table of strengths. A click on a row shows that segmentation."""

    def __init__(self, context: PanelContext):
        self._context, self._ui = context, context.ui
        self.comparison: Comparison | None = None
        self._hidden: slicer.vtkMRMLSegmentationNode | None = None
        ui = self._ui
        for size in REGIONS_MM:
            title = _("Whole volume") if size is None else _("Box of {size:.0f} mm at the crosshair").format(size=size)
            ui.compareRoiComboBox.addItem(title, size or 0.0)
        ui.compareTable.setColumnCount(len(TITLES))
        ui.compareTable.setHorizontalHeaderLabels([_(title) for title in TITLES])
        ui.compareTable.horizontalHeader().setStretchLastSection(True)
        make_rows_compact(ui.compareTable)
        self._policies_known = False
        self._add_policy("", _("As chosen above"), _("The method and the settings under Speed and accuracy"))
        ui.comparePoliciesList.item(0).setCheckState(qt.Qt.Checked)
        ui.comparePoliciesList.connect("itemChanged(QListWidgetItem*)", lambda *_: self.refresh())
        ui.compareRanksEdit.connect("textChanged(QString)", lambda *_: self.refresh())
        ui.compareRoiComboBox.connect("activated(int)", lambda *_: self.refresh())
        ui.compareButton.connect("clicked(bool)", self._on_button)
        ui.compareRanksButton.connect("clicked(bool)", self._on_open)
        ui.compareTable.connect("cellClicked(int,int)", self._on_row)
        ui.compareDifferencesCheckBox.connect("clicked(bool)", self._on_differences)
        ui.comparePlotButton.connect("clicked(bool)", self._on_plot)
        ui.compareClearButton.connect("clicked(bool)", self.remove)

    @property
    def running(self) -> bool:
        """Whether a comparison goes on."""
        return self.comparison is not None and self.comparison.running

    def refresh(self) -> None:
        ui = self._ui
        if self._context.parameters is None:
            return
        ui.compareButton.text = _("Cancel") if self.running else _("Resume") if self._can_go_on() else _("Compare")
        problem = self._context.choice.problem() if self._context.packages_ready else _("Python packages are missing.")
        ui.compareButton.enabled = self.running or (problem is None and self._context.busy_with is None)
        ui.compareButton.toolTip = plain(problem or "")
        show_if_any(ui.compareProblemLabel, "" if self.running else problem or "", "bad")
        has_rows = self.comparison is not None and bool(self.comparison.rows)
        for button in (ui.comparePlotButton, ui.compareClearButton):
            button.enabled = has_rows

    def enter(self) -> None:
        if not self._policies_known:
            self._context.ask("policies", self._on_policies)

    def close(self) -> None:
        self.remove()

    def remove(self) -> None:
        """Take the comparison and all its nodes away."""
        comparison, self.comparison = self.comparison, None
        if comparison is not None:
            comparison.remove()
        self._show_run()
        self._ui.compareTable.setRowCount(0)
        show_words(self._ui.compareNoteLabel, "")
        self._context.refresh()

    def strengths(self) -> list[float]:
        """The strengths that the user typed, the highest first.

        Raises:
            SpecError: Not numbers in range.
        """
        text = self._ui.compareRanksEdit.text
        try:
            ratios = {round(float(part), 4) for part in text.replace(";", ",").split(",") if part.strip()}
        except ValueError:
            ratios = set()
        ratios.discard(1.0)  # the original runs in any case
        if not ratios or not all(LOWEST_STRENGTH <= ratio < 1 for ratio in ratios):
            raise SpecError(
                _("Strengths should be numbers from {low} to 1, separated by commas; found '{text}'.").format(
                    low=LOWEST_STRENGTH, text=text
                )
            )
        return sorted(ratios, reverse=True)

    def policies(self) -> list[str | None]:
        """The policies that are checked; None is what is chosen above.

        Raises:
            SpecError: None is checked.
        """
        entries = self._ui.comparePoliciesList
        items = [entries.item(row) for row in range(entries.count)]
        checked = [item.data(qt.Qt.UserRole) or None for item in items if item.checkState() == qt.Qt.Checked]
        if not checked:
            raise SpecError(_("Check at least one policy."))
        return checked

    def _variants(self) -> list[Variant]:
        strengths = self.strengths()
        return [Variant(strength, policy) for policy in self.policies() for strength in strengths]

    def _can_go_on(self) -> bool:
        """Whether a comparison that was cancelled is about what is chosen, and lacks some of it."""
        if self.comparison is None or not self.comparison.rows or not self._is_about_choice():
            return False
        try:
            return bool(self.comparison.missing(self._variants()))
        except TuckerSegError:
            return False

    def _is_about_choice(self) -> bool:
        """Whether rows of what is chosen belong into the table that is there."""
        volume_node = self._context.choice.volume
        if self.comparison is None or volume_node is None:
            return False
        try:
            return self.comparison.is_about(volume_node, self._context.choice.settings(), self._roi(volume_node))
        except TuckerSegError:
            return False

    def _on_policies(self, event: Event) -> None:
        if not self._policies_known:
            self._policies_known = True
            for policy in event["policies"]:
                self._add_policy(policy["name"], policy["name"], policy["explanation"])
            refused = qt.QListWidgetItem(_("+repair: not offered, since it trains for minutes to hours"))
            refused.setFlags(qt.Qt.NoItemFlags)
            self._ui.comparePoliciesList.addItem(refused)

    def _add_policy(self, name: str, title: str, explanation: str) -> None:
        item = qt.QListWidgetItem(title)
        item.setData(qt.Qt.UserRole, name)
        item.setToolTip(plain(explanation))
        item.setCheckState(qt.Qt.Unchecked)
        self._ui.comparePoliciesList.addItem(item)

    def _on_open(self) -> None:
        self._ui.compareCollapsibleButton.collapsed = False

    def _on_button(self) -> None:
        if self.running:
            self._ui.compareButton.enabled = False
            self.comparison.cancel()
            return
        try:
            variants, settings = self._variants(), self._context.choice.settings()
            volume_node = self._context.choice.volume
            if not self._is_about_choice():
                self.remove()
                self.comparison = Comparison(self._context.session, volume_node, settings, self._roi(volume_node))
            if self.comparison.rows and not self.comparison.missing(variants):
                show_words(self._ui.compareNoteLabel, _("All of these are in the table."))
                return
            self.comparison.start(variants, self._on_event)
        except TuckerSegError as error:
            show_words(self._ui.compareNoteLabel, str(error), "bad")
            self._drop_empty()
        self._show_running()
        self._context.refresh()

    def _roi(self, volume_node: Any) -> dict[str, Any]:
        size = self._ui.compareRoiComboBox.currentData
        return {"box_mm": size or None, "center": list(crosshair_position(volume_node)) if size else None}

    def _on_event(self, event: Event) -> None:
        kind = event["event"]
        self._context.status.follow(event)
        if kind == "row":
            self._add_row(event["row"])
        elif kind in FINAL_EVENTS:
            self._finish(event)

    def _finish(self, event: Event) -> None:
        self._show_running()
        if self.comparison is not None:  # else it has been taken away, with its rows
            self._tell_end(event)
            self._drop_empty()
        self._context.status.say("")
        if event["event"] == "error":
            self._context.status.log_error(event)
        self._context.run_ended.emit()
        self._context.refresh()

    def _tell_end(self, event: Event) -> None:
        if event["event"] == "result":
            words = _("Agreement is the mean Dice against the original network. Click a row to see it.")
        elif event["event"] == "error":
            words = " ".join(filter(None, (event["message"], event.get("advice"))))
        elif self.comparison.rows:
            words = _("Cancelled. Rows that have come stay, and Resume goes on with the others.")
        else:
            words = _("Cancelled. The scene is as it was.")
        show_words(self._ui.compareNoteLabel, words, "bad" if event["event"] == "error" else "")

    def _drop_empty(self) -> None:
        """Keep no comparison, and no folder of it, that has no row."""
        if self.comparison is not None and not self.comparison.rows:
            self.comparison.remove()
            self.comparison = None

    def _show_running(self) -> None:
        self._context.busy_with = "comparison" if self.running else None
        self._context.status.show_bar(self.running)

    def _add_row(self, row: ComparisonRow) -> None:
        table = self._ui.compareTable
        number = table.rowCount
        table.setRowCount(number + 1)
        for column, text in enumerate(_cells(row)):
            item = qt.QTableWidgetItem(one_line(text))
            item.setToolTip(plain(text))
            table.setItem(number, column, item)
        for column in range(len(TITLES) - 1):
            table.resizeColumnToContents(column)
        self._context.refresh()

    def _on_row(self, row: int, column: int = 0) -> None:
        if self.comparison is not None and row < len(self.comparison.rows):
            try:
                self.comparison.show(row, self._ui.compareDifferencesCheckBox.checked)
            except TuckerSegError as error:
                show_words(self._ui.compareNoteLabel, str(error), "bad")
            else:
                self._hide_run()

    def _hide_run(self) -> None:
        """Take the result of the last run out of sight: it would lie over the row that is looked at."""
        node = self._context.parameters.outputSegmentation
        if node is not None and node.GetDisplayVisibility():
            node.SetDisplayVisibility(False)
            self._hidden = node

    def _show_run(self) -> None:
        hidden, self._hidden = self._hidden, None
        if hidden is not None and hidden.GetScene() is not None:
            hidden.SetDisplayVisibility(True)

    def _on_differences(self) -> None:
        row = self._ui.compareTable.currentRow()
        if row >= 0:
            self._on_row(row)

    def _on_plot(self) -> None:
        if self.comparison is not None:
            self.comparison.nodes.show_plot()


def _cells(row: ComparisonRow) -> tuple[str, ...]:
    original = row.strength >= 1
    worst = ", ".join(f"{title_of(each.name)} {each.dice:.2f}" for each in row.structures[:WORST_SHOWN])
    return (
        _("original") if original else " ".join(filter(None, (row.policy, f"{row.strength:.2f}"))),
        "" if row.agreement is None else f"{row.agreement:.3f}",
        amount(row.statistics.macs_per_volume * 2),
        seconds_in_words(row.seconds),
        "" if original else worst,
    )
