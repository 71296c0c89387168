"""Folders for files that pass between the application and the worker."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import slicer

PREFIX = "TuckerSeg-"
ABANDONED_S = 2 * 86400  # a computer that lost its power leaves one; no session lasts that long untouched


def make_workspace() -> Path:
    """A new folder in the application's temporary folder; abandoned ones of other sessions are removed."""
    parent = Path(slicer.app.temporaryPath)
    for folder in parent.glob(f"{PREFIX}*"):
        if time.time() - folder.stat().st_mtime > ABANDONED_S:
            remove_workspace(folder)
    return Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))


def remove_workspace(folder: Path) -> None:
    """Remove a folder with all that it holds; it may be gone already."""
    shutil.rmtree(folder, ignore_errors=True)
