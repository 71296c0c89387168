"""The ``.tuckerseg`` file: safetensors whose header carries one JSON document. No pickle.

Knows tensors and JSON; what the document means is ``model.py``'s business. A checksum over both finds damage that
leaves the file's structure whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ModelFileError, OutputError
from .text_files import parse_json

if TYPE_CHECKING:
    import torch

FORMAT_VERSION = 1
HEADER_KEY = "tuckerseg"
DTYPES = {  # safetensors' names to torch's
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], document: dict[str, Any]) -> None:
    """Write beside ``path`` and rename.

    Args:
        tensors: By name; aliases must be gone.
        document: JSON types only.

    Raises:
        OutputError: The folder is missing or not writable, or the disk is full.
    """
    from safetensors.torch import save_file

    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {"format": FORMAT_VERSION, **document}
    header["sha256"] = _sha256(contiguous, header)
    beside = None
    try:
        handle, beside = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        os.close(handle)
        save_file(contiguous, beside, metadata={HEADER_KEY: json.dumps(header)})
        os.replace(beside, path)
    except Exception as error:  # safetensors raises its own kinds for a full disk
        raise OutputError(f"{path} cannot be written: {error}") from error
    finally:
        if beside:
            Path(beside).unlink(missing_ok=True)  # gone already where all went well


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read and check a file written by :func:`write_tensors`.

    Returns:
        Tensors by name (on the CPU), and the document.

    Raises:
        ModelFileError: Missing, damaged, not such a file, or of a newer format.
    """
    tensors, document = _read(path, lambda file, name: file.get_tensor(name))
    if _sha256(tensors, document) != document.get("sha256"):
        raise ModelFileError(f"{path} is damaged: its checksum does not match. Make it again.")
    return tensors, document


def read_shapes(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The same without the tensors' values: they lie on the meta device and take no memory. Their damage is not seen.

    Raises:
        ModelFileError: See :func:`read_tensors`.
    """
    return _read(path, _shape_of)


def _read(path: Path, read: Callable[[Any, str], torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ModelFileError(f"{path}: no such file.")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(HEADER_KEY)
            if text is None:
                raise ModelFileError(
                    f"{path} is a safetensors file, but not one of TuckerSeg's: its header is missing."
                )
            document = parse_json(text)
            _check_format(path, document)
            return {name: read(file, name) for name in file.keys()}, document  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelFileError(f"{path} is damaged or not a .tuckerseg file ({error}). Make it again.") from error


def _shape_of(file: Any, name: str) -> torch.Tensor:
    import torch

    part = file.get_slice(name)
    return torch.empty(part.get_shape(), dtype=getattr(torch, DTYPES[part.get_dtype()]), device="meta")


def checksum_of(path: Path) -> str | None:
    """The checksum that a file's header states, without reading its tensors; None where there is none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return parse_json((file.metadata() or {})[HEADER_KEY])["sha256"]
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return None


def _check_format(path: Path, document: dict[str, Any]) -> None:
    found = document.get("format")
    if not isinstance(found, int) or found < 1:
        raise ModelFileError(f"{path}: the format version is missing in the header.")
    if found > FORMAT_VERSION:
        raise ModelFileError(
            f"{path}: format {found} was written by a newer TuckerSeg; this one reads up to {FORMAT_VERSION}. "
            "Update TuckerSeg, or make the file again with this one."
        )


def _sha256(tensors: dict[str, torch.Tensor], document: dict[str, Any]) -> str:
    """Over all tensors, and all of the document but the checksum itself."""
    import torch

    facts = {key: value for key, value in document.items() if key != "sha256"}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
