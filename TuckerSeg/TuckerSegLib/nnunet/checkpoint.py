"""Reads the weights of nnU-Net's checkpoints. Runs no code of theirs, and believes no size that they state.

A checkpoint is a zip with a pickle of dictionaries and one entry per tensor. Torch reads the pickle with a list of what
may be called. Beside weights, training left there what is of no use here; what is harmless of it is passed over.
"""

from __future__ import annotations

import io
import re
import threading
import zipfile
from pathlib import Path
from typing import Any

from ..errors import ModelFolderError
from ..files.lfs import lfs_pointer
from ..printable import shown
from .archives import DAMAGES

MOST_ENTRIES = 100_000
MOST_PICKLE_BYTES = 64 * 1024**2
MOST_TENSORS = 20_000
LONGEST_NAME = 500
# What training wrote into checkpoints beside weights: numpy scalars of the logger and, of trainers of people, paths,
# arrays and times. None is rebuilt: numpy makes a scalar as large as its type says.
_PASSED_OVER = (
    *(f"{module}.{name}" for module in ("pathlib", "pathlib._local")
      for name in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path")),
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *(f"datetime.{name}" for name in ("date", "datetime", "time", "timedelta", "timezone")),
    *(f"{module}.{name}" for module in ("builtins", "__builtin__")
      for name in ("frozenset", "slice", "range", "xrange")),
    "numpy.ndarray",
    "numpy.dtype",
)  # fmt: skip
_ONE_CHECKPOINT = threading.Lock()  # what torch may unpickle is one list for all threads


class _NoWeights:
    """Stands for a value that is not rebuilt."""

    def __init__(self, *arguments: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def read_checkpoint(file: Path | zipfile.Path, where: str) -> dict[str, Any]:
    """Read the weights of an nnU-Net checkpoint, without running any code that it may hold.

    Args:
        file: On disk, or inside a zip.
        where: Names the file in error messages.

    Returns:
        nnU-Net's checkpoint dictionary; ``network_weights`` has plain parameter names (``module.`` and ``_orig_mod.``
        prefixes of wrapped networks are taken off), and nothing but tensors with values of their own on the processor.

    Raises:
        ModelFolderError: Not a checkpoint, damaged, or without weights.
    """
    import torch

    if pointer := lfs_pointer(file):
        raise ModelFolderError(f"{where} {pointer}")
    try:
        source: Any = file if isinstance(file, Path) else io.BytesIO(file.read_bytes())
        size = file.stat().st_size if isinstance(file, Path) else len(source.getbuffer())
        _check_contents(source, size)
        with _ONE_CHECKPOINT, torch.serialization.safe_globals(_safe_globals()):
            checkpoint = torch.load(source, map_location="cpu", weights_only=True)
    except (*DAMAGES, Exception, MemoryError) as error:  # torch raises many kinds; all mean the same to the user
        raise ModelFolderError(
            f"{where} cannot be read as an nnU-Net checkpoint ({_reason(error)}). Copy or download the model again."
        ) from error
    if not isinstance(checkpoint, dict) or "network_weights" not in checkpoint:
        content = shown([*map(str, checkpoint)] if isinstance(checkpoint, dict) else type(checkpoint).__name__)
        raise ModelFolderError(f"{where}: the key 'network_weights' is missing; found {content}.")
    weights = checkpoint["network_weights"]
    _check_tensors(weights, size, where)
    checkpoint["network_weights"] = {
        name.removeprefix("module.").removeprefix("_orig_mod."): tensor for name, tensor in weights.items()
    }
    return checkpoint


def _check_contents(source: Path | io.BytesIO, size: int) -> None:
    """Check sizes and checksums of a checkpoint's entries, which torch believes as they are.

    Raises:
        zipfile.BadZipFile: With the reason.
    """
    if not zipfile.is_zipfile(source):
        raise zipfile.BadZipFile("it is damaged, or not of PyTorch 1.6 or later")
    with zipfile.ZipFile(source) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise zipfile.BadZipFile("its entries are packed, which PyTorch does not do")
        if len(entries) > MOST_ENTRIES or sum(entry.file_size for entry in entries) > size:
            raise zipfile.BadZipFile("its entries would be larger than the file")
        pickles = [entry for entry in entries if entry.filename.endswith("data.pkl")]
        if any(entry.file_size > MOST_PICKLE_BYTES for entry in pickles):
            raise zipfile.BadZipFile(f"its data.pkl has more than {MOST_PICKLE_BYTES / 1e6:.0f} MB")
        if any(b"bytearray\n" in archive.read(entry) for entry in pickles):  # torch makes one of any size that it names
            raise zipfile.BadZipFile("it holds a bytearray, which no training writes")
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"the checksum of {shown(damaged)} does not match")
    if isinstance(source, io.BytesIO):
        source.seek(0)


def _check_tensors(weights: object, size: int, where: str) -> None:
    """Raises ModelFolderError unless every entry is a tensor whose values are in the file, and none is repeated.

    One value, repeated, can look as large as one likes.
    """
    import torch

    place = f"{where}: network_weights"
    if not isinstance(weights, dict) or not 0 < len(weights) <= MOST_TENSORS:
        raise ModelFolderError(f"{place} should be 1 to {MOST_TENSORS} tensors by name; found {_kind(weights)}.")
    storages: dict[int, int] = {}
    for name, tensor in weights.items():
        if not isinstance(name, str) or len(name) > LONGEST_NAME:
            raise ModelFolderError(f"{place}: names should be text; found {shown(name)}.")
        if not isinstance(tensor, torch.Tensor):
            raise ModelFolderError(f"{place}: {shown(name)} should be a tensor; found {_kind(tensor)}.")
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            raise ModelFolderError(
                f"{place}: {shown(name)} should be a dense tensor of numbers; found {_kind(tensor)}."
            )
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        if tensor.numel() * tensor.element_size() > storage.nbytes():
            raise ModelFolderError(f"{place}: {shown(name)} repeats values; {tuple(tensor.shape)} are not in the file.")
    if sum(storages.values()) > size:
        raise ModelFolderError(f"{place} should be in the file, which has only {size} bytes.")


def _kind(value: object) -> str:
    """A value's type in words, for messages."""
    return f"{len(value)} entries" if isinstance(value, dict) else f"a {type(value).__name__}"


def _reason(error: BaseException) -> str:
    """The reason of an error in one line, without torch's advice to trust the file."""
    message = str(error)
    if match := re.search(r"GLOBAL ([\w.]+)", message):
        return f"it holds a {match.group(1)}, which is not a weight and might run code"
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    named = [line for line in lines if "WeightsUnpickler error" in line]
    return shown((named or lines or [type(error).__name__])[0], 200).strip("'\"")


def _safe_globals() -> list[Any]:
    """Names that torch may find in a pickle, all replaced by a class that keeps nothing."""
    return [(_NoWeights, name) for name in _PASSED_OVER]
