"""Advanced: precision, grid, calibration, cache. Plain fields are bound to the parameter node in the .ui file."""

from __future__ import annotations

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from ...cache import Cache
from ...files.leftovers import Leftover, leftovers, sweep
from ...model_zoo.places import other_places
from ...records.job import CALIBRATE, OUTPUT_GRIDS, PRECISIONS
from ..words import bytes_in_words
from .context import PanelContext
from .labels import show_words
from .section import Section

GRID_TITLES = {"native": "Smooth, on the volume's voxels", "nearest": "Nearest voxel (blocky)"}
PRECISION_TITLES = {"auto": "Automatic"}
CALIBRATE_TITLES = {
    "auto": "On the first volume",
    "volume": "On this volume too",
    "none": "None: by the weights alone",
}


def unfinished_files() -> list[Leftover]:
    """What is being written in the cache, the model library and the temporary folder, or was when its process ended."""
    return [*Cache().unfinished(), *(each for place in other_places() for each in leftovers(place))]


class AdvancedSection(Section):
    """Choices that few need."""

    def __init__(self, context: PanelContext):
        self._context, self._ui = context, context.ui
        ui = self._ui
        for precision in PRECISIONS:
            ui.precisionComboBox.addItem(_(PRECISION_TITLES.get(precision, precision)), precision)
        for grid in OUTPUT_GRIDS:
            ui.outputGridComboBox.addItem(_(GRID_TITLES[grid]), grid)
        for calibrate in CALIBRATE:
            ui.calibrateComboBox.addItem(_(CALIBRATE_TITLES[calibrate]), calibrate)
        ui.methodComboBox.connect("activated(int)", self._on_method)
        ui.precisionComboBox.connect("activated(int)", self._on_precision)
        ui.outputGridComboBox.connect("activated(int)", self._on_grid)
        ui.calibrateComboBox.connect("activated(int)", self._on_calibrate)
        ui.cacheOpenButton.connect("clicked(bool)", self._on_open_cache)
        ui.cacheClearButton.connect("clicked(bool)", self._on_clear_cache)
        ui.advancedCollapsibleButton.connect("contentsCollapsed(bool)", self._on_collapsed)

    def refresh(self) -> None:
        parameters = self._context.parameters
        for box, value in (
            (self._ui.precisionComboBox, parameters.precision),
            (self._ui.outputGridComboBox, parameters.outputGrid),
            (self._ui.calibrateComboBox, parameters.calibrate),
        ):
            box.currentIndex = max(0, box.findData(value))
        self._show_methods(parameters.method)
        self._ui.stepSlider.enabled = not parameters.recommendedStep
        compressed = parameters.rankRatio < 1 and not parameters.agreement  # an agreement is found with both
        self._ui.calibrateComboBox.enabled = compressed
        self._ui.refitCheckBox.enabled = compressed and parameters.calibrate != "none"

    def enter(self) -> None:
        self._show_cache()

    def _show_methods(self, chosen: str) -> None:
        """The methods that the worker knows, where there is a choice."""
        known = list((self._context.choice.model_facts or {}).get("methods") or [chosen])
        known += [] if chosen in known else [chosen]
        box = self._ui.methodComboBox
        if known != [box.itemData(index) for index in range(box.count)]:
            box.clear()
            for method in known:
                box.addItem(method, method)
        box.currentIndex = box.findData(chosen)
        box.visible = self._ui.methodLabel.visible = len(known) > 1

    def _show_cache(self) -> None:
        if self._ui.advancedCollapsibleButton.collapsed:
            return
        entries = Cache().entries()
        words = _("{count} files, {size}").format(
            count=len(entries), size=bytes_in_words(sum(entry.size_bytes for entry in entries))
        )
        left = [each for each in unfinished_files() if each.owner != "living"]
        if left:
            words += _("; {size} that ended processes left behind").format(
                size=bytes_in_words(sum(each.size_bytes for each in left))
            )
        show_words(self._ui.cacheLabel, words)

    def _on_collapsed(self, collapsed: bool) -> None:
        self._show_cache()

    def _on_method(self, index: int) -> None:
        self._context.change(method=self._ui.methodComboBox.itemData(index))

    def _on_precision(self, index: int) -> None:
        self._context.change(precision=self._ui.precisionComboBox.itemData(index))

    def _on_grid(self, index: int) -> None:
        self._context.change(outputGrid=self._ui.outputGridComboBox.itemData(index))

    def _on_calibrate(self, index: int) -> None:
        self._context.change(calibrate=self._ui.calibrateComboBox.itemData(index))

    def _on_open_cache(self) -> None:
        folder = Cache().folder
        folder.mkdir(parents=True, exist_ok=True)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(Path(folder))))

    def _on_clear_cache(self) -> None:
        question = _("Remove all compressed and compiled models? They are made again when they are needed.")
        if slicer.util.confirmOkCancelDisplay(question):
            self._context.session.close()
            freed = Cache().clear() + sum(map(sweep, other_places()))
            self._context.status.say(_("{size} freed.").format(size=bytes_in_words(freed)))
            self._show_cache()
