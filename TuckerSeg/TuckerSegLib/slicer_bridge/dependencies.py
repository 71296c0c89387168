"""The Python packages that the worker needs: which there are, and which are missing."""

from __future__ import annotations

import importlib.util

IMPORT_NAMES = {
    "torch": "torch",
    "nnunetv2": "nnunetv2",
    "tensorly": "tensorly",
    "openvino": "openvino",
    "safetensors": "safetensors",
    "nibabel": "nibabel",
    "scipy": "scipy",
    "SimpleITK": "SimpleITK",
    "numpy": "numpy",
}


def missing_packages() -> list[str]:
    """Packages that cannot be found, by their names; nothing is imported."""
    return [package for package, name in IMPORT_NAMES.items() if importlib.util.find_spec(name) is None]
