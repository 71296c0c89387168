"""A model that was given by its path, copied under a name of the user's, so that it stays when its folder goes."""

from __future__ import annotations

import re
from pathlib import Path

from slicer.i18n import tr as _

from ... import catalog
from ... import model_zoo as installed_models
from ...records.protocol import FINAL_EVENTS
from ..client.worker_process import Event
from .context import PanelContext
from .section import Section

FILE_SUFFIX = ".tuckerseg"  # is one file already, and is not imported


class ImportingSection(Section):
    """A name and a button."""

    def __init__(self, context: PanelContext):
        self._context, self._ui = context, context.ui
        self._suggested: str | None = None
        self._request: int | None = None
        self._ui.importButton.connect("clicked(bool)", self._on_button)

    def refresh(self) -> None:
        model = self._context.parameters.model
        self._ui.importFrame.visible = self._request is not None or _is_path(model)
        if model != self._suggested:
            self._suggested = model
            self._ui.importNameEdit.text = suggested_name(model)
        self._ui.importButton.text = _("Import") if self._request is None else _("Cancel")

    def close(self) -> None:
        if self._request is not None:
            self._context.session.worker.cancel(self._request)

    def _on_button(self) -> None:
        if self._request is not None:
            self._context.session.worker.cancel(self._request)
            return
        self._context.status.say(_("Copying and checking the model…"))
        self._request = self._context.session.worker.request(
            "import_model",
            self._on_event,
            path=self._context.parameters.model,
            name=self._ui.importNameEdit.text.strip(),
        )
        self._context.refresh()

    def _on_event(self, event: Event) -> None:
        if event["event"] not in FINAL_EVENTS:
            return
        self._request = None
        if event["event"] == "result":
            self._context.models_changed.emit()
            self._context.change(model=event["name"])
            self._context.status.say(_("Imported as {name}.").format(name=event["name"]))
        elif event["event"] == "error":
            self._context.status.say(event["message"], "bad")
            self._context.status.log_error(event)
        else:
            self._context.status.say(_("Cancelled. Nothing was imported."))
        self._context.refresh()


def suggested_name(path: str) -> str:
    """A name for a model, after its data set: ``small`` of ``.../Dataset077_Small/nnUNetTrainer__...``."""
    named = [part for part in Path(path).parts if re.match(r"Dataset\d+_", part)]
    stem = re.sub(r"^Dataset\d+_|\.zip$", "", named[-1] if named else Path(path).name)
    return re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._-").lower()


def _is_path(model: str) -> bool:
    names = [imported.name for imported in installed_models.imported_models()]
    return catalog.task(model) is None and model not in names and not model.endswith(FILE_SUFFIX)
