"""A model that was given by its path, copied under a name of the user's, so that it stays when its folder goes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from slicer.i18n import tr as _

from ... import catalog
from ... import model_zoo as installed_models
from ..client.worker_process import Event

if TYPE_CHECKING:
    from .panel import Panel

FILE_SUFFIX = ".tuckerseg"  # is one file already, and is not imported


class ImportingSection:
    """A name and a button."""

    def __init__(self, panel: Panel):
        self._panel, self._ui = panel, panel.ui
        self._suggested: str | None = None
        self._request: int | None = None
        self._ui.importButton.connect("clicked(bool)", self._on_button)

    def refresh(self) -> None:
        model = self._panel.parameters.model
        self._ui.importFrame.visible = self._request is not None or _is_path(model)
        if model != self._suggested:
            self._suggested = model
            self._ui.importNameEdit.text = suggested_name(model)
        self._ui.importButton.text = _("Import") if self._request is None else _("Cancel")

    def enter(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        if self._request is not None:
            self._panel.session.worker.cancel(self._request)

    def _on_button(self) -> None:
        if self._request is not None:
            self._panel.session.worker.cancel(self._request)
            return
        self._panel.running.status(_("Copying and checking the model…"))
        self._request = self._panel.session.worker.request(
            "import_model", self._on_event, path=self._panel.parameters.model, name=self._ui.importNameEdit.text.strip()
        )
        self._panel.refresh()

    def _on_event(self, event: Event) -> None:
        if event["event"] not in ("result", "error", "cancelled"):
            return
        self._request = None
        if event["event"] == "result":
            self._panel.models.look_again()
            self._panel.change(model=event["name"])
            self._panel.running.status(_("Imported as {name}.").format(name=event["name"]))
        elif event["event"] == "error":
            self._panel.running.status(event["message"])
            self._panel.running.log_error(event)
        else:
            self._panel.running.status(_("Cancelled. Nothing was imported."))
        self._panel.refresh()


def suggested_name(path: str) -> str:
    """A name for a model, after its data set: ``small`` of ``.../Dataset077_Small/nnUNetTrainer__...``."""
    named = [part for part in Path(path).parts if re.match(r"Dataset\d+_", part)]
    stem = re.sub(r"^Dataset\d+_|\.zip$", "", named[-1] if named else Path(path).name)
    return re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._-").lower()


def _is_path(model: str) -> bool:
    names = [imported.name for imported in installed_models.imported_models()]
    return catalog.task(model) is None and model not in names and not model.endswith(FILE_SUFFIX)
