"""Models for other programs: the table of formats.

A format is one module with ``OPTIONS`` (fields of ``ExportSettings`` that mean something to it), ``check(model, path,
settings)`` (raises before any work is done) and ``export(model, path, settings)``, which writes beside and renames. A
new format is one file and one line here.
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
        SpecError: No such format.
    """
    if name not in FORMATS:
        raise SpecError(f"Unknown export format '{name}'; known: {', '.join(FORMATS)}.")
    return import_module(f".{FORMATS[name]}", __name__)
