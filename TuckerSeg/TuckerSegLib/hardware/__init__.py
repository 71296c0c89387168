"""Runs networks on the hardware of this computer: the table of backends. Knows no models, images or patch grids.

A backend is one file with ``devices()``, which lists its devices and says why those that are not usable are not,
``prepare(load_network, device, spec)``, which makes a patch predictor, and ``is_out_of_memory(error)``; and one line in
the table.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

from ..errors import BackendError

BACKENDS = {  # in order of preference
    "cuda": "torch_cuda",
    "openvino": "openvino_runtime",
    "torch": "torch_cpu",
    "mps": "torch_mps",
}

_HOME = {
    "Device": "device",
    "devices": "device",
    "choose": "device",
    "choose_precision": "device",
    "PrepareSpec": "patch_predictor",
    "PatchPredictor": "patch_predictor",
    "default_threads": "processor",
    "processor_name": "processor",
    "torch_threads": "threads",
    "freed_memory_kept": "memory",
    "trim_memory": "memory",
    "use_usual_thresholds": "memory",
    "peak_memory_bytes": "memory",
    "forget_peak_memory": "memory",
    "held_memory_bytes": "memory",
}

__all__ = ["BACKENDS", "backend", *_HOME]  # noqa: PLE0604


def backend(name: str) -> ModuleType:
    """Module of a backend, imported on first use.

    Raises:
        BackendError: No such backend.
    """
    if name not in BACKENDS:
        raise BackendError(f"Unknown backend {name!r}; known: {', '.join(BACKENDS)}.")
    return import_module(f".{BACKENDS[name]}", __name__)


def __getattr__(name: str) -> Any:
    """Import a part on first use, so that importing the package imports neither torch nor openvino."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
