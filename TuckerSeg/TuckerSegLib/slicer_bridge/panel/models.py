"""The model: what is offered with its state, what is known of the chosen one, and the list of all others."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ... import catalog
from ...catalog import structures
from ...printable import printable
from ..client.worker_process import Event
from ..words import bytes_in_words
from .context import PanelContext
from .item_views import disable_entry
from .model_list import (
    ModelEntry,
    built_in_entries,
    entry_of,
    facts_of_task,
    favorite_entries,
    group_of,
    imported_entries,
    other_entries,
    spacing_words,
)


class ModelsSection:
    """The selector of the model."""

    def __init__(self, context: PanelContext):
        self._context, self._ui = context, context.ui
        self._described: str | None = None
        self._shown: list[ModelEntry] = []
        self._offered: list[list[ModelEntry]] | None = None
        self._others: dict[str, ModelEntry] = {}
        ui = self._ui
        ui.modelComboBox.connect("activated(int)", self._on_model)
        ui.modelFolderButton.connect("clicked(bool)", self._on_folder)
        ui.modelFileButton.connect("clicked(bool)", self._on_file)
        ui.moreModelsButton.connect("toggled(bool)", self._on_more)
        ui.modelSearchBox.connect("textChanged(QString)", self._on_search)
        ui.modelList.connect("itemClicked(QListWidgetItem*)", self._on_listed)
        context.run_ended.connect(self.look_again)
        context.models_changed.connect(self.look_again)

    def refresh(self) -> None:
        model = self._context.parameters.model
        self._show_offer(model)
        self._ui.moreModelsFrame.visible = self._ui.moreModelsButton.checked
        self._describe(model)

    def enter(self) -> None:
        self.look_again()

    def close(self) -> None:
        self._described = None

    def look_again(self) -> None:
        """What is on this computer may have changed."""
        self._offered = None
        self._described = None
        if self._ui.moreModelsButton.checked:
            self._fill_list()

    def _show_offer(self, model: str) -> None:
        if self._offered is None:
            self._offered = [built_in_entries(), favorite_entries(), imported_entries()]
        groups = list(self._offered)
        if model not in [entry.name for group in groups for entry in group]:
            groups.append([entry_of(model)])
        entries = [entry for group in groups for entry in group]
        box = self._ui.modelComboBox
        if entries != self._shown:
            self._shown = entries
            box.clear()
            for group in filter(None, groups):
                if box.count:
                    box.insertSeparator(box.count)
                for entry in group:
                    self._add(entry)
            box.view().setMinimumWidth(box.view().sizeHintForColumn(0))
        box.currentIndex = box.findData(model)
        box.toolTip = box.itemData(box.currentIndex, qt.Qt.ToolTipRole)

    def _add(self, entry: ModelEntry) -> None:
        box = self._ui.modelComboBox
        box.addItem(entry.text, entry.name)
        box.setItemData(box.count - 1, entry.details, qt.Qt.ToolTipRole)
        if entry.refusal:
            disable_entry(box, box.count - 1)

    def _describe(self, model: str) -> None:
        if model == self._described:
            return
        known = self._context.choice.task()
        if known is not None:
            self._described = model
            self._context.choice.model_facts = {
                "labels": [{"value": value, "name": name} for value, name in known.structures]
            }
            words = [entry_of(model).refusal] if known.license_key_required else [*facts_of_task(known), known.note]
            self._ui.modelNoteLabel.text = printable(" ".join(filter(None, words)))
        elif self._context.packages_ready:
            self._described = model
            self._context.choice.model_facts = None
            self._ui.modelNoteLabel.text = _("Reading the model…")
            self._context.ask(
                "describe_model", lambda event: self._on_facts(model, event), self._on_bad_model, model=model
            )

    def _on_facts(self, model: str, event: Event) -> None:
        if model != self._described:
            return
        self._context.choice.model_facts = event
        self._ui.modelNoteLabel.text = _("{count} structures, voxels of {spacing} mm, {size}").format(
            count=len(event["labels"]),
            spacing=spacing_words(tuple(event["spacing_mm"])),
            size=bytes_in_words(event["model_bytes"]),
        )
        self._context.refresh()

    def _on_bad_model(self, event: Event) -> None:
        self._ui.modelNoteLabel.text = printable(event["message"])
        self._context.status.log_error(event)

    def _on_model(self, index: int) -> None:
        self._context.change(model=self._ui.modelComboBox.itemData(index))

    def _on_folder(self) -> None:
        self._take(qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("nnU-Net v2 model folder")))

    def _on_file(self) -> None:
        kinds = _("Models (*.zip *.tuckerseg)")
        self._take(qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), _("nnU-Net v2 model"), "", kinds))

    def _take(self, path: Any) -> None:
        if path:
            self._context.change(model=str(path))

    def _on_more(self, shown: bool) -> None:
        if shown:
            self._fill_list()
        self._ui.moreModelsFrame.visible = shown

    def _fill_list(self) -> None:
        """Tasks that are not offered at once, under headings that cannot be clicked."""
        self._others = {entry.name: entry for entry in other_entries()}
        entries, heading = self._ui.modelList, None
        entries.clear()
        for entry in self._others.values():
            group = group_of(catalog.task(entry.name))
            if group != heading:
                heading = group
                entries.addItem(_heading(group))
            item = qt.QListWidgetItem(entry.text)
            item.setData(qt.Qt.UserRole, entry.name)
            item.setToolTip(entry.details)
            if entry.refusal:
                item.setFlags(qt.Qt.NoItemFlags)
            entries.addItem(item)
        self._on_search(self._ui.modelSearchBox.text)

    def _on_search(self, words: str) -> None:
        entries = self._ui.modelList
        for row in range(entries.count):
            item = entries.item(row)
            entry = self._others.get(item.data(qt.Qt.UserRole))
            item.setHidden(bool(words.strip()) and not (entry and structures.find(words, [entry.search_text])))

    def _on_listed(self, item: Any) -> None:
        entry = self._others.get(item.data(qt.Qt.UserRole))
        if entry is not None and not entry.refusal:
            self._ui.moreModelsButton.checked = False
            self._context.change(model=entry.name)


def _heading(title: str) -> Any:
    item = qt.QListWidgetItem(title)
    item.setFlags(qt.Qt.NoItemFlags)
    font = item.font()
    font.setBold(True)
    item.setFont(font)
    return item
