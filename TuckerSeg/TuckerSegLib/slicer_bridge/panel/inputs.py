"""Inputs: the volume, and which of the model's structures are wanted."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ...catalog import structures
from ..scene.sequences import browser_of
from ..scene.slice_views import shown_volume
from .choice import ALL, GROUP, SELECTED
from .context import PanelContext


class InputsSection:
    """Volume and structures."""

    def __init__(self, context: PanelContext):
        self._context, self._ui = context, context.ui
        self._listed: tuple[str, ...] | None = None
        ui = self._ui
        ui.inputVolumeSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._on_volume)
        ui.structuresComboBox.connect("activated(int)", self._on_structures)
        ui.structureSearchBox.connect("textChanged(QString)", self._on_search)
        ui.structureList.connect("itemChanged(QListWidgetItem*)", self._on_item)

    def refresh(self) -> None:
        volume_node = self._context.choice.volume
        self._ui.inputVolumeSelector.setCurrentNode(volume_node)
        self._ui.sequenceCheckBox.visible = browser_of(volume_node) is not None
        self._show_structures()

    def enter(self) -> None:
        self._context.choice.proposed_volume = shown_volume()

    def close(self) -> None:
        self._context.choice.proposed_volume = None

    def _show_structures(self) -> None:
        names = self._context.choice.structure_names()
        if names != self._listed:
            self._listed = names
            self._fill(names)
        box, choice = self._ui.structuresComboBox, self._context.parameters.structuresChoice
        if box.findData(choice) < 0:  # of another model
            box.addItem(choice.removeprefix(GROUP).capitalize(), choice)
        box.currentIndex = box.findData(choice)
        self._ui.structuresFrame.visible = choice == SELECTED
        self._ui.cropCheckBox.visible = self._context.choice.can_crop()
        self._show_checks()

    def _fill(self, names: tuple[str, ...]) -> None:
        box = self._ui.structuresComboBox
        box.clear()
        box.addItem(_("All ({count})").format(count=len(names)) if names else _("All"), ALL)
        for group, members in structures.groups(names).items():
            box.addItem(f"{group.capitalize()} ({len(members)})", GROUP + group)
        box.addItem(_("Selected…"), SELECTED)
        entries = self._ui.structureList
        entries.blockSignals(True)
        entries.clear()
        for name in names:
            item = qt.QListWidgetItem(structures.title_of(name))
            item.setData(qt.Qt.UserRole, name)
            item.setCheckState(qt.Qt.Unchecked)
            entries.addItem(item)
        entries.blockSignals(False)

    def _show_checks(self) -> None:
        wanted = set(self._context.parameters.selectedStructures)
        entries = self._ui.structureList
        entries.blockSignals(True)
        for row in range(entries.count):
            item = entries.item(row)
            item.setCheckState(qt.Qt.Checked if item.data(qt.Qt.UserRole) in wanted else qt.Qt.Unchecked)
        entries.blockSignals(False)

    def _on_volume(self, node: slicer.vtkMRMLNode | None = None) -> None:
        choice = self._context.choice
        if node is not choice.volume:  # else the panel itself has shown it
            choice.proposed_volume = None
            self._context.change(inputVolume=node)
            self._context.refresh()

    def _on_structures(self, index: int) -> None:
        self._context.change(structuresChoice=self._ui.structuresComboBox.itemData(index))

    def _on_search(self, words: str) -> None:
        shown = set(structures.find(words, self._context.choice.structure_names())) if words.strip() else None
        entries = self._ui.structureList
        for row in range(entries.count):
            item = entries.item(row)
            item.setHidden(shown is not None and item.data(qt.Qt.UserRole) not in shown)

    def _on_item(self, item: Any = None) -> None:
        entries = self._ui.structureList
        items = [entries.item(row) for row in range(entries.count)]
        checked = [item.data(qt.Qt.UserRole) for item in items if item.checkState() == qt.Qt.Checked]
        self._context.change(selectedStructures=checked)
