"""Paths of the files that come with the program."""

from __future__ import annotations

import os
from pathlib import Path

_LIBRARY = Path(__file__).resolve().parents[1]

# Beside the library in a source tree and inside Slicer, within it in an installed wheel.
RESOURCES = _LIBRARY.parent / "Resources"
if not os.path.isdir(RESOURCES):
    RESOURCES = _LIBRARY / "Resources"

DEMO_VOLUME = RESOURCES / "Data" / "synthetic_torso.nii.gz"
