"""Reads voxels as a file stores them, and scales them into a type that the engine works on.

Every byte that a header promises must be there, and a compressed stream must end well with its checksum: a
truncated file is an error, never an image whose rest is empty. What follows the promised bytes is not read.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ImageError
from .sizes import KEPT_TYPES, check_memory, check_stored_bytes, truncated

CHUNK_BYTES = 1 << 16  # after each of its members, what is left of a piece is copied: small ones bound that
OUTPUT_BYTES = 1 << 22  # bound on one decompressed piece: a file of zeros inflates a thousandfold
GZIP_MAGIC = b"\x1f\x8b"
ZLIB_OR_GZIP = 47  # zlib's window bits: take either header and check its checksum


@dataclass(frozen=True)
class StoredVolume:
    """A volume in a file, as its header describes it.

    Attributes:
        path: The file that the user named.
        data_path: The file that holds the voxels; another one where header and voxels are apart.
        offset: Where the voxels begin in it, in bytes; with ``compressed``, where the compressed stream begins.
        skip: Bytes before the voxels inside the (decompressed) stream.
        compressed: Whether the voxels are a zlib or gzip stream.
        dtype: Type of a voxel, with byte order.
        shape: (Z, Y, X).
        timepoints: Number of volumes that follow each other.
        affine: (4, 4), voxel index (x, y, z) to RAS mm.
        slope, intercept: Value = stored * slope + intercept.
        notes: Sentences for the user.
        parts: The files that hold the voxels one after the other, each as many and none compressed; none where
            ``data_path`` holds them all.
    """

    path: Path
    data_path: Path
    offset: int
    skip: int
    compressed: bool
    dtype: np.dtype
    shape: tuple[int, int, int]
    timepoints: int
    affine: np.ndarray
    slope: float = 1.0
    intercept: float = 0.0
    notes: tuple[str, ...] = ()
    parts: tuple[Path, ...] = ()


def read_stored(volume: StoredVolume, timepoint: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Read the voxels of one volume, without scaling them.

    Args:
        volume: Where and how they are stored.
        timepoint: Which volume of the file, from 0.

    Returns:
        Array (Z, Y, X) of ``volume.dtype``, and notes for the user.

    Raises:
        ImageError: The file is truncated or damaged, or the volume does not fit into memory.
    """
    count = math.prod(volume.shape) * volume.dtype.itemsize
    if volume.parts:
        check_memory(volume.path, volume.shape, volume.dtype, (volume.slope, volume.intercept) != (1.0, 0.0))
        return _joined_parts(volume, timepoint * count, count).view(volume.dtype).reshape(volume.shape), ()
    start = volume.skip + timepoint * count
    whole = volume.skip + volume.timepoints * count
    stored = volume.data_path.stat().st_size - volume.offset
    check_stored_bytes(volume.path, start + count, stored, volume.compressed)
    check_memory(volume.path, volume.shape, volume.dtype, (volume.slope, volume.intercept) != (1.0, 0.0))
    if volume.compressed:
        data, has_more = _inflated_range(volume, start, count, whole)
    else:
        data = np.fromfile(volume.data_path, np.uint8, count, offset=volume.offset + start)
        has_more = stored > whole
    notes = ("The file holds more data than its header says; what follows was not read.",) if has_more else ()
    return data.view(volume.dtype).reshape(volume.shape), notes


def _joined_parts(volume: StoredVolume, start: int, count: int) -> np.ndarray:
    """Bytes ``start`` to ``start + count`` of the voxels in several files."""
    size = math.prod(volume.shape) * volume.timepoints * volume.dtype.itemsize // len(volume.parts)
    data = np.empty(count, dtype=np.uint8)
    for number, path in enumerate(volume.parts):
        begin, end = max(start, number * size), min(start + count, (number + 1) * size)
        if begin >= end:
            continue
        offset = volume.offset + begin - number * size
        check_stored_bytes(path, offset + end - begin, path.stat().st_size, False)
        data[begin - start : end - start] = np.fromfile(path, np.uint8, end - begin, offset=offset)
    return data


def _inflated_range(volume: StoredVolume, start: int, count: int, whole: int) -> tuple[np.ndarray, bool]:
    """Bytes ``start`` to ``start + count`` of a decompressed stream, and whether it holds more than ``whole`` bytes.

    The stream is read to its end for the checksum, but not far beyond what it should hold, since a few kB can unpack
    into more than the memory holds.
    """
    data = np.empty(count, dtype=np.uint8)
    target = memoryview(data)
    position = 0
    for piece in inflated(volume.data_path, volume.offset):
        begin, end = max(start, position), min(start + count, position + len(piece))
        if begin < end:
            target[begin - start : end - start] = memoryview(piece)[begin - position : end - position]
        position += len(piece)
        if position > whole + OUTPUT_BYTES:  # a damaged stream that only runs a little over fails by its checksum
            break
    if position < start + count:
        raise truncated(volume.path, start + count, position)
    return data, position > whole


def inflated(path: Path, offset: int = 0) -> Iterator[bytes]:
    """Decompress a zlib stream, or gzip members one after the other, piece by piece.

    Raises:
        ImageError: The stream ends early, is damaged, or its checksum differs.
    """
    decoder = zlib.decompressobj(ZLIB_OR_GZIP)
    try:
        with path.open("rb") as file:
            file.seek(offset)
            pending = file.read(CHUNK_BYTES)
            while pending:
                if decoder.eof:
                    # gzip allows zeros after a member, and nothing else but another member
                    pending = pending.lstrip(b"\0") or file.read(CHUNK_BYTES).lstrip(b"\0")
                    if len(pending) == 1:
                        pending += file.read(CHUNK_BYTES)
                    if not pending.startswith(GZIP_MAGIC):
                        break
                    decoder = zlib.decompressobj(ZLIB_OR_GZIP)
                yield decoder.decompress(pending, OUTPUT_BYTES)
                pending = decoder.unused_data or decoder.unconsumed_tail or file.read(CHUNK_BYTES)
    except zlib.error as error:
        raise ImageError(
            f"{path}: its compressed data are damaged ({error}). Copy or download the file again."
        ) from error
    if not decoder.eof:
        raise ImageError(
            f"{path}: truncated; its compressed data end before their checksum. Copy or download the file again."
        )


def compact(stored: np.ndarray, slope: float = 1.0, intercept: float = 0.0) -> np.ndarray:
    """Scale stored values into the smallest type that the engine works on.

    Whole numbers stay whole while slope and intercept are whole: then int16 where the values fit, else int32.
    Everything else becomes float32, and all of native byte order. An array that needs no change is returned as it
    is, without a copy.

    Args:
        stored: (Z, Y, X), any real type.
        slope, intercept: Value = stored * slope + intercept.

    Returns:
        (Z, Y, X) of uint8, int8, int16, int32 or float32.
    """
    scaled = (slope, intercept) != (1.0, 0.0)
    if not scaled and stored.dtype in KEPT_TYPES:
        return stored
    dtype = _fitting_type(stored, slope, intercept)
    if not scaled and stored.dtype == dtype:
        return stored
    values = np.empty(stored.shape, dtype)
    with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold is infinite, and told of later
        for target, slab in zip(values, stored, strict=True):
            target[...] = slab if not scaled else slab.astype(np.float64) * slope + intercept
    return values


def _fitting_type(stored: np.ndarray, slope: float, intercept: float) -> np.dtype:
    if stored.dtype.kind not in "iu" or slope != int(slope) or intercept != int(intercept):
        return np.dtype(np.float32)
    bounds = [int(bound) * int(slope) + int(intercept) for bound in (stored.min(), stored.max())]
    for dtype in (np.int16, np.int32):
        limits = np.iinfo(dtype)
        if limits.min <= min(bounds) and max(bounds) <= limits.max:
            return np.dtype(dtype)
    return np.dtype(np.float32)
