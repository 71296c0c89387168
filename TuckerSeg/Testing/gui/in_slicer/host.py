"""The real application, under the names by which the tests know the runtime that plays it."""

from pathlib import Path

import dialogs
import pythonqt
import slicer
import slicer.util


def start(**_):
    """The application; its dialogs do not wait, and errors in slots are collected."""
    pythonqt.install()
    dialogs.install()
    return slicer.app


def load(path):
    """A scripted module that Slicer has loaded; a panel that was made before is made anew."""
    name = Path(path).stem
    if hasattr(slicer.modules, f"{name}Widget"):
        slicer.util.reloadScriptedModule(name)
    return getattr(slicer.modules, name.lower())


def discard(container):
    """Slicer keeps a module's page."""
