"""Cutting a volume into patches and streaming their weighted mean. Knows nothing of networks, models or files."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "patch_origins": "grid",
    "gaussian_weights": "weights",
    "select_patches": "selection",
    "Selection": "selection",
    "stream": "streaming",
    "patch_count": "streaming",
    "Slab": "streaming",
    "StreamSpec": "streaming",
    "Kept": "lines",
    "Lines": "lines",
}

__all__ = list(_HOME)  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    """Import a part on first use, so that importing the package does not import torch."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
