"""Every means of compression in one allocation: each layer gets what costs the least error for what it saves.

It is asked for as a method is (``auto``), and gives the steps of the methods that carry it out: what is recorded and
stored are theirs. The names are imported on first use, so the command line has its options without torch.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "Allocation": "steps",
    "POLICIES": "policies",
    "Spec": "spec",
    "add_options": "options",
    "allocate_steps": "steps",
    "material_spec": "steps",
    "policy_spec": "policies",
    "spec_of": "options",
}

__all__ = list(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
