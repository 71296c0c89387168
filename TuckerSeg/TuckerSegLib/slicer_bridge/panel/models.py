"""The model: what is offered with its state, what is known of the chosen one, and the list of all others."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ... import catalog
from ...catalog import structures
from ...records.job import Job
from ...records.serialization import to_json
from ..client.worker_process import Event
from ..words import bytes_in_words
from .context import PanelContext
from .item_views import disable_entry
from .labels import show_if_any
from .model_list import (
    ModelEntry,
    built_in_entries,
    entry_of,
    facts_of_task,
    favorite_entries,
    group_of,
    imported_entries,
    other_entries,
    proposed_model,
    spacing_words,
    warning_of,
)

LAST_USED_SETTING = "TuckerSeg/LastModel"  # of the application: another computer has other models

# Errors that are none of the model's, and may be over when a run is tried.
PASSING = ("WorkerError", "ProtocolError", "OutputError", "DiskFullError", "OutOfMemoryError", "MemoryError")


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
        self._running = ""
        context.run_begins.connect(self._on_run)
        context.segmented.connect(self._on_segmented)
        context.run_ended.connect(self.look_again)
        context.models_changed.connect(self.look_again)

    def refresh(self) -> None:
        model = self._context.parameters.model
        self._show_offer(model)
        self._ui.moreModelsFrame.visible = self._ui.moreModelsButton.checked
        self._describe(model)

    def enter(self) -> None:
        self.look_again()
        parameters = self._context.parameters
        if parameters is not None and not parameters.modelChosen and warning_of(parameters.model):
            parameters.model = proposed_model(str(slicer.app.userSettings().value(LAST_USED_SETTING) or ""))

    def close(self) -> None:
        self._forget()

    def look_again(self) -> None:
        """What is on this computer may have changed."""
        self._offered = None
        self._forget()
        if self._ui.moreModelsButton.checked:
            self._fill_list()

    def _forget(self) -> None:
        """Read the chosen model anew: it may have been repaired, or have gone."""
        self._described = None
        self._context.choice.obstacles["model"] = ""

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
        choice, known = self._context.choice, self._context.choice.task()
        if known is not None:
            self._described = model
            choice.obstacles["model"] = ""
            choice.model_facts = {"labels": [{"value": value, "name": name} for value, name in known.structures]}
            refusal = entry_of(model).refusal
            facts = refusal or " ".join(filter(None, [f"{known.title}.", *facts_of_task(known), known.note]))
            self._tell(facts, hue="bad" if refusal else "")
        elif self._context.packages_ready:
            self._described = model
            choice.obstacles["model"] = ""
            choice.model_facts = None
            self._tell(_("Reading the model…"), warning_of(model))
            self._context.ask(
                "describe_model",
                lambda event: self._on_facts(model, event),
                lambda event: self._on_bad_model(model, event),
                job=to_json(Job(images=(), model=model)),
            )

    def _tell(self, facts: str, warning: str = "", hue: str = "") -> None:
        """Show what is known of the model, and what one is to be warned of."""
        show_if_any(self._ui.modelWarningLabel, warning, "warning")
        show_if_any(self._ui.modelNoteLabel, facts, hue)

    def _on_facts(self, model: str, event: Event) -> None:
        if model != self._described:
            return
        self._context.choice.model_facts = event
        facts = _("{count} structures, voxels of {spacing} mm, {size}").format(
            count=len(event["labels"]),
            spacing=spacing_words(tuple(event["spacing_mm"])),
            size=bytes_in_words(event["model_bytes"]),
        )
        self._tell(facts, event.get("warning", ""))
        self._context.refresh()

    def _on_bad_model(self, model: str, event: Event) -> None:
        if model != self._described:
            return
        if event.get("kind") not in PASSING:
            self._context.choice.obstacles["model"] = event["message"]
        self._tell(event["message"], hue="bad")
        self._context.status.log_error(event)
        self._context.refresh()

    def _choose(self, model: str) -> None:
        self._context.change(model=model, modelChosen=True)

    def _on_run(self) -> None:
        if self._context.parameters is None:  # a batch whose images are found while a scene is read
            return
        self._running = self._context.parameters.model
        self._context.change(modelChosen=True)

    def _on_segmented(self, *_: Any) -> None:
        slicer.app.userSettings().setValue(LAST_USED_SETTING, self._running)

    def _on_model(self, index: int) -> None:
        self._choose(self._ui.modelComboBox.itemData(index))

    def _on_folder(self) -> None:
        self._take(qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("nnU-Net v2 model folder")))

    def _on_file(self) -> None:
        kinds = _("Models (*.zip *.tuckerseg)")
        self._take(qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), _("nnU-Net v2 model"), "", kinds))

    def _take(self, path: Any) -> None:
        if path:
            self._choose(str(path))

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
            self._choose(entry.name)


def _heading(title: str) -> Any:
    item = qt.QListWidgetItem(title)
    item.setFlags(qt.Qt.NoItemFlags)
    font = item.font()
    font.setBold(True)
    item.setFont(font)
    return item
