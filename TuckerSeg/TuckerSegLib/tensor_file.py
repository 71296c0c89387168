"""The ``.tuckerseg`` file: safetensors whose header carries one JSON document. No pickle.

Knows tensors and JSON; what the document means is ``model.py``'s business. A checksum over both finds damage that
leaves the file's structure whole, and one over the header alone finds it where the tensors are not read. A file in a
cache says which entry it is, outside of the document: whoever writes it again elsewhere does not carry that along.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import ModelFileError
from .files.atomic_writes import output_error, written_whole
from .files.lfs import lfs_pointer
from .printable import excerpt, shown
from .text_files import MOST_JSON_BYTES, parse_object

if TYPE_CHECKING:
    import torch

Content = TypeVar("Content")

FORMAT_VERSION = 2  # the newest that is read; who writes what earlier programs cannot read says so
PLAIN_FORMAT = 1
HEADER_KEY = "tuckerseg"
ENTRY_KEY = "cache_entry"
MOST_HEADER_BYTES = 64 * 1024**2
MOST_TENSORS = 100_000
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
    "U16": "uint16",
    "BOOL": "bool",
}


def write_tensors(
    path: Path, tensors: dict[str, torch.Tensor], document: dict[str, Any], entry: str | None = None
) -> None:
    """Write a file whole or not at all, see ``files.atomic_writes.written_whole``.

    Args:
        tensors: By name; aliases must be gone.
        document: JSON types only.
        entry: Of a cache, which one it becomes, see ``cache.entry_name``.

    Raises:
        OutputError: The folder is missing or not writable, or the disk is full.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {"format": PLAIN_FORMAT, **document}
    header["header_sha256"] = _header_sha256(contiguous, header)
    header["sha256"] = _sha256(sorted(contiguous.items()), header)
    metadata = {HEADER_KEY: json.dumps(header), **({ENTRY_KEY: entry} if entry else {})}
    size = sum(tensor.numel() * tensor.element_size() for tensor in contiguous.values())
    try:
        with written_whole(path, size) as beside:
            save_file(contiguous, beside, metadata=metadata)
    except SafetensorError as error:
        raise output_error(path, _system_error(error), size) from error


def _system_error(error: Exception) -> OSError:
    """What stopped safetensors, which tells of a full disk in words of its own."""
    number = re.search(r"os error (\d+)", str(error))
    return OSError(int(number[1]) if number else 0, str(error))


def read_tensors(path: Path, entry: str | None = None) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read and check a file written by :func:`write_tensors`.

    Args:
        entry: Of a cache, which one the file must be; None: any file.

    Returns:
        Tensors by name (on the CPU), and the document; its ``sha256`` is over all of it.

    Raises:
        ModelFileError: Missing, damaged, not such a file, of a newer format, or another entry.
    """
    tensors, document = _read(path, entry, lambda file: {name: file.get_tensor(name) for name in _names(file)})
    if _sha256(sorted(tensors.items()), document) != document.get("sha256"):
        raise ModelFileError(f"{path} is damaged: its checksum does not match. Make it again.")
    return tensors, document


def read_shapes(path: Path, entry: str | None = None) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The same without the tensors' values: they lie on the meta device and take no memory. Their damage is not seen.

    Of the document's ``sha256`` it is not known whether the values are those; :func:`checked_sha256` finds out.

    Raises:
        ModelFileError: See :func:`read_tensors`.
    """
    tensors, document = _read(path, entry, lambda file: {name: _shape_of(file, name) for name in _names(file)})
    early = entry is None and "header_sha256" not in document
    if not early and document.get("header_sha256") != _header_sha256(tensors, document):
        raise ModelFileError(f"{path} is damaged: the checksum of its header does not match. Make it again.")
    return tensors, document


def checked_sha256(path: Path) -> str:
    """The checksum of a file, after a look at all of it; one tensor at a time is held.

    Raises:
        ModelFileError: See :func:`read_tensors`.
    """

    def digest(file: Any) -> str:
        return _sha256(((name, file.get_tensor(name)) for name in sorted(_names(file))), _document_of(path, file))

    actual_sha256, document = _read(path, None, digest)
    if actual_sha256 != document.get("sha256"):
        raise ModelFileError(f"{path} is damaged: its checksum does not match. Make it again.")
    return actual_sha256


def _read(path: Path, entry: str | None, read: Callable[[Any], Content]) -> tuple[Content, dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    _check_header_size(path)
    try:
        with safe_open(path, framework="pt") as file:
            document = _document_of(path, file)
            if entry is not None and (stored_entry := file.metadata().get(ENTRY_KEY)) != entry:
                raise ModelFileError(
                    f"{path} should be the entry {entry}; it was stored as {excerpt(repr(stored_entry))}."
                )
            return read(file), document
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelFileError(f"{path} is damaged or not a .tuckerseg file ({error}). Make it again.") from error


def _check_header_size(path: Path) -> None:
    """The file begins with the length of its header, 8 bytes; what it states is taken to memory as a whole."""
    if not os.path.isfile(path):
        raise ModelFileError(f"{path}: no such file.")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            stated = int.from_bytes(file.read(8), "little")
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}.") from error
    if pointer := lfs_pointer(path):
        raise ModelFileError(f"{path} {pointer}")
    most = min(size - 8, MOST_HEADER_BYTES)
    if not 0 < stated <= most:
        raise ModelFileError(
            f"{path} is damaged or not a .tuckerseg file: its header should have 1 to {max(most, 1)} bytes; it states "
            f"{stated}. Make it again."
        )


def _document_of(path: Path, file: Any) -> dict[str, Any]:
    text = (file.metadata() or {}).get(HEADER_KEY)
    if text is None:
        raise ModelFileError(f"{path} is a safetensors file, but not one of TuckerSeg's: its header is missing.")
    if len(text) > MOST_JSON_BYTES:
        raise ModelFileError(
            f"{path}: the header should have at most {MOST_JSON_BYTES / 1e6:.0f} MB; it has more. Make it again."
        )
    document = parse_object(text, f"{path}: the header", ModelFileError)
    _check_format(path, document)
    return document


def _names(file: Any) -> list[str]:
    names = list(file.keys())
    if len(names) > MOST_TENSORS:
        raise ValueError(f"it should hold at most {MOST_TENSORS} tensors; it holds {len(names)}")
    return names


def _shape_of(file: Any, name: str) -> torch.Tensor:
    import torch

    part = file.get_slice(name)
    if part.get_dtype() not in DTYPES:
        raise ValueError(f"{shown(name)} is of the type {part.get_dtype()}")
    return torch.empty(part.get_shape(), dtype=getattr(torch, DTYPES[part.get_dtype()]), device="meta")


def checksum_of(path: Path) -> str | None:
    """The checksum that a file's header states, without reading its tensors; None where there is none."""
    from safetensors import SafetensorError, safe_open

    try:
        _check_header_size(path)
        with safe_open(path, framework="pt") as file:
            stated = _document_of(path, file).get("sha256")
    except (ModelFileError, SafetensorError, OSError, ValueError):
        return None
    return stated if isinstance(stated, str) else None


def _check_format(path: Path, document: dict[str, Any]) -> None:
    version = document.get("format")
    if type(version) is not int or version < 1:
        raise ModelFileError(f"{path}: the header should have a format version; found {shown(version)}.")
    if version > FORMAT_VERSION:
        raise ModelFileError(
            f"{path}: format {shown(version)} was written by a newer TuckerSeg; this one reads up to {FORMAT_VERSION}. "
            "Update TuckerSeg, or make the file again with this one."
        )


def _sha256(tensors: Iterable[tuple[str, torch.Tensor]], document: dict[str, Any]) -> str:
    """Over all of the document but the checksum itself, and all tensors."""
    facts = {key: value for key, value in document.items() if key != "sha256"}
    return content_sha256(tensors, facts)


def content_sha256(tensors: Iterable[tuple[str, torch.Tensor]], facts: Any) -> str:
    """SHA-256 over JSON and over names, shapes, types and values of tensors.

    Args:
        tensors: On the CPU, sorted by name.
    """
    import torch

    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in tensors:
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _header_sha256(tensors: dict[str, torch.Tensor], document: dict[str, Any]) -> str:
    """Over the document but for the checksums, and names, shapes and types of the tensors."""
    facts = {key: value for key, value in document.items() if key not in ("sha256", "header_sha256")}
    shapes = [[name, list(tensors[name].shape), str(tensors[name].dtype)] for name in sorted(tensors)]
    return hashlib.sha256(json.dumps([facts, shapes], sort_keys=True).encode()).hexdigest()
