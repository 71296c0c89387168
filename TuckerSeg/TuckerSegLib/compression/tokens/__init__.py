"""Token sparsification; the names that every method has, imported on first use.

So the command line has the method's options without torch.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "Material": "material",
    "Spec": "spec",
    "VERSION": "material",
    "add_options": "options",
    "apply": "method",
    "describe": "spec",
    "layer_words": "details",
    "plan": "method",
    "prepare": "material",
    "spec_of": "options",
}

__all__ = list(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
