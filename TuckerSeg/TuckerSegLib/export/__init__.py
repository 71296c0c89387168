"""Exports models for other programs: the table of formats.

A format is one module with ``OPTIONS`` (the fields of ``ExportSettings`` that it uses), ``check(model, path,
settings)``, which raises before any work is done, and ``export(model, path, settings)``, which writes temporary files
and renames them. A new format is one file and one line here.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from ..errors import SpecError

FORMATS = {
    "nnunet": "nnunet_folder",
    "onnx": "onnx_file",
    "openvino": "openvino_ir",
}


def exporter(name: str) -> ModuleType:
    """Module of a format, imported on first use.

    Raises:
        SpecError: There is no such format.
    """
    if name not in FORMATS:
        raise SpecError(f"Unknown export format '{name}'; known: {', '.join(FORMATS)}.")
    return import_module(f".{FORMATS[name]}", __name__)
