"""Inputs: the volume, the model, and which of its structures are wanted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer.i18n import tr as _

from ... import catalog, structures
from ...errors import ImageError
from ..sequences import browser_of
from ..volumes import check_volume
from ..worker_process import Event

if TYPE_CHECKING:
    from .panel import Panel

ALL, SELECTED, GROUP = "all", "selected", "group:"


class InputsSection:
    """Volume, model and structures."""

    def __init__(self, panel: Panel):
        self._panel, self._ui = panel, panel.ui
        self._described: str | None = None
        self._listed: tuple[str, ...] | None = None
        ui = self._ui
        ui.modelComboBox.connect("activated(int)", self._on_model)
        ui.modelFolderButton.connect("clicked(bool)", self._on_model_folder)
        ui.modelFileButton.connect("clicked(bool)", self._on_model_file)
        ui.structuresComboBox.connect("activated(int)", self._on_structures)
        ui.structureSearchBox.connect("textChanged(QString)", self._on_search)
        ui.structureList.connect("itemChanged(QListWidgetItem*)", self._on_item)

    def refresh(self) -> None:
        parameters = self._panel.parameters
        self._show_models(parameters.model)
        self._ui.sequenceCheckBox.visible = browser_of(parameters.inputVolume) is not None
        self._show_structures()
        self._describe(parameters.model)

    def enter(self) -> None:
        parameters = self._panel.parameters
        if parameters is not None and parameters.inputVolume is None:
            volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")  # label maps are of this class, too
            plain = [node for node in volumes if node.GetClassName() == "vtkMRMLScalarVolumeNode"]
            parameters.inputVolume = plain[0] if plain else None

    def close(self) -> None:
        self._described = None

    def problem(self) -> str | None:
        """Why these inputs cannot be run, in words; None where they can."""
        try:
            check_volume(self._panel.parameters.inputVolume)
        except ImageError as error:
            return str(error)
        if self._panel.parameters.structuresChoice == SELECTED and not self._panel.parameters.selectedStructures:
            return _("Check at least one structure.")
        return None

    def structures(self) -> tuple[str, ...] | None:
        """Names of the structures that are wanted; None for all."""
        choice = self._panel.parameters.structuresChoice
        if choice == SELECTED:
            return tuple(self._panel.parameters.selectedStructures)
        if choice.startswith(GROUP):
            return tuple(structures.groups(self._names()).get(choice.removeprefix(GROUP), ()))
        return None

    def _names(self) -> tuple[str, ...]:
        """Names of the model's structures, once the worker has told them."""
        facts = self._panel.model_facts
        return tuple(label["name"] for label in facts["labels"]) if facts else ()

    def _describe(self, model: str) -> None:
        if model == self._described or not self._panel.dependencies.ready:
            return
        self._described = model
        self._panel.model_facts = None
        self._ui.modelNoteLabel.text = _("Reading the model…")
        self._panel.ask("describe_model", lambda event: self._on_facts(model, event), self._on_bad_model, model=model)

    def _on_facts(self, model: str, event: Event) -> None:
        if model != self._described:
            return
        self._panel.model_facts = event
        spacing = " × ".join(f"{size:g}" for size in event["spacing_mm"][::-1])
        self._ui.modelNoteLabel.text = _("{count} structures, voxels of {spacing} mm, {size:.0f} MB").format(
            count=len(event["labels"]), spacing=spacing, size=event["model_bytes"] / 1e6
        )
        self._panel.refresh()

    def _on_bad_model(self, event: Event) -> None:
        self._ui.modelNoteLabel.text = event["message"]
        self._panel.running.log_error(event)

    def _show_models(self, model: str) -> None:
        box = self._ui.modelComboBox
        if box.count == 0:
            for known in catalog.known_models():
                box.addItem(known.title, known.name)
                box.setItemData(box.count - 1, known.note, qt.Qt.ToolTipRole)
        if box.findData(model) < 0:
            box.addItem(Path(model).name, model)
            box.setItemData(box.count - 1, model, qt.Qt.ToolTipRole)
        box.currentIndex = box.findData(model)
        box.toolTip = box.itemData(box.currentIndex, qt.Qt.ToolTipRole)

    def _on_model(self, index: int) -> None:
        self._panel.change(model=self._ui.modelComboBox.itemData(index))

    def _on_model_folder(self) -> None:
        self._take(qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("nnU-Net v2 model folder")))

    def _on_model_file(self) -> None:
        kinds = _("Models (*.zip *.tuckerseg)")
        self._take(qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), _("nnU-Net v2 model"), "", kinds))

    def _take(self, path: Any) -> None:
        if path:
            self._panel.change(model=str(path))

    def _show_structures(self) -> None:
        names = self._names()
        if names != self._listed:
            self._listed = names
            self._fill(names)
        box, choice = self._ui.structuresComboBox, self._panel.parameters.structuresChoice
        index = box.findData(choice)
        box.currentIndex = index if index >= 0 else 0
        self._ui.structuresFrame.visible = choice == SELECTED
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
        wanted = set(self._panel.parameters.selectedStructures)
        entries = self._ui.structureList
        entries.blockSignals(True)
        for row in range(entries.count):
            item = entries.item(row)
            item.setCheckState(qt.Qt.Checked if item.data(qt.Qt.UserRole) in wanted else qt.Qt.Unchecked)
        entries.blockSignals(False)

    def _on_structures(self, index: int) -> None:
        self._panel.change(structuresChoice=self._ui.structuresComboBox.itemData(index))

    def _on_search(self, words: str) -> None:
        shown = set(structures.find(words, self._names())) if words.strip() else None
        entries = self._ui.structureList
        for row in range(entries.count):
            item = entries.item(row)
            item.setHidden(shown is not None and item.data(qt.Qt.UserRole) not in shown)

    def _on_item(self, item: Any = None) -> None:
        entries = self._ui.structureList
        items = [entries.item(row) for row in range(entries.count)]
        checked = [item.data(qt.Qt.UserRole) for item in items if item.checkState() == qt.Qt.Checked]
        self._panel.change(selectedStructures=checked)
