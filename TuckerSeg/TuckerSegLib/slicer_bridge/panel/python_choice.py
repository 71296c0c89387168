"""Which Python runs the worker: Slicer's own, or one whose path the user gives under Advanced."""

from __future__ import annotations

import os
from collections.abc import Callable

import slicer
from slicer.i18n import tr as _

from ...printable import one_line
from .context import PanelContext

PYTHON_SETTING = "TuckerSeg/Python"  # of the application, not of a scene: another computer has another Python


class PythonChoice:
    """The path's line, and the button that goes back to Slicer's own Python.

    CTK's line tells of every key, and nothing when its text is empty. A path is therefore taken when its editing has
    ended or when it was browsed for, and only where it is a program; to go back there is a button.

    Args:
        on_change: Called when another Python was chosen.
        on_refusal: Receives in words why a path is not taken.
    """

    def __init__(self, context: PanelContext, on_change: Callable[[], None], on_refusal: Callable[[str], None]):
        self._on_change, self._on_refusal = on_change, on_refusal
        self._path_edit = context.ui.pythonPathLineEdit
        self._line_edit = self._path_edit.comboBox().lineEdit()
        self._being_typed = False
        self._show(self.path)
        self._line_edit.setPlaceholderText(_("Slicer's own"))
        self._line_edit.connect("textEdited(QString)", self._on_key)  # comes before the path line's own signal
        self._line_edit.connect("editingFinished()", self._on_typed)
        self._path_edit.connect("currentPathChanged(QString)", self._on_path)
        context.ui.pythonResetButton.connect("clicked(bool)", self._on_reset)

    @property
    def path(self) -> str | None:
        """The Python that the user chose; None for Slicer's own."""
        value = slicer.app.userSettings().value(PYTHON_SETTING)
        return str(value) if value else None

    def _show(self, path: str | None) -> None:
        self._path_edit.currentPath = path or ""

    def _on_key(self, text: str) -> None:
        self._being_typed = True

    def _on_typed(self) -> None:
        self._being_typed = False
        self._take(self._path_edit.currentPath)

    def _on_path(self, path: str) -> None:
        if not self._being_typed:
            self._take(path)

    def _take(self, path: str) -> None:
        """Use a path from now on, unless it is no program or is used already."""
        if not path or path == self.path:
            return
        if not (os.path.isfile(path) and os.access(path, os.X_OK)):
            refusal = _("'{path}' is not a program, so it is not used. Give the path of a Python, such as {example}.")
            example = r"C:\Python312\python.exe" if os.name == "nt" else "/usr/bin/python3"
            self._on_refusal(refusal.format(path=one_line(path), example=example))
            return
        slicer.app.userSettings().setValue(PYTHON_SETTING, path)
        self._on_change()

    def _on_reset(self) -> None:
        """Go back to Slicer's own Python."""
        self._being_typed = False
        was_another = self.path is not None
        slicer.app.userSettings().remove(PYTHON_SETTING)
        self._show(None)
        if was_another:
            self._on_change()
