"""From stored values to intensities: scaling slice by slice, and what stands where nothing was measured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from ..checks import OUTSIDE_HU
from ..sizes import KEPT_TYPES, check_memory
from .header import DicomFile, Slice
from .pixels import Scratch, read_frames

AIR_HU = -1000.0  # padding at or below is air to every network, and stays as it is
# Above what any CT gives, metal in an extended scale too: a negative number that was written without its sign
HIGHEST_HU = 31743.0
BYTE_TYPES = tuple(dtype for dtype in KEPT_TYPES if np.dtype(dtype).itemsize == 1)


def read_slices(source: str, slices: Sequence[Slice]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Read the pixels of slices, in their order.

    Args:
        source: Name of the folder or file, for messages.
        slices: All of one size.

    Returns:
        Array (Z, Y, X) of intensities: stored * slope + intercept, each slice by its own; notes.

    Raises:
        ImageError: Pixels are missing or damaged, or do not fit into memory.
    """
    shape = (len(slices), slices[0].file.format.rows, slices[0].file.format.columns)
    check_memory(source, shape, np.dtype(np.int16))
    volume, padded = np.empty(shape, np.uint8), 0
    begun = False
    of_file = defaultdict(list)
    for place, each in enumerate(slices):
        of_file[each.file].append((place, each))
    with Scratch() as scratch:
        for file, wanted in of_file.items():  # one after the other: a file may be large
            values, padding = read_frames(file, scratch)
            for place, each in wanted:
                plane, count = _intensities(each, values[each.frame], None if padding is None else padding[each.frame])
                dtype = plane.dtype if not begun else _common(volume.dtype, plane.dtype)
                begun = True
                if dtype != volume.dtype:
                    check_memory(source, shape, dtype)
                    volume = volume.astype(dtype)
                volume[place] = plane
                padded += count
    notes = ()
    if padded:
        notes = (
            f"{padded} of {volume.size} voxels are padding, by the header (PixelPaddingValue) or by a value that no "
            "scanner gives: they were taken for air.",
        )
    return volume, notes


def outside_value(file: DicomFile, smallest: float) -> float:
    """The intensity of what was not measured: air of a CT, else the smallest one."""
    return min(OUTSIDE_HU, smallest) if file.modality == "CT" else smallest


def _intensities(each: Slice, stored: np.ndarray, padding: np.ndarray | None) -> tuple[np.ndarray, int]:
    """A slice's intensities (Y, X), and how many of them were changed as padding."""
    plane = _scaled(stored, each.place.slope, each.place.intercept)
    is_ct = each.file.modality == "CT"
    if padding is None:
        padding = np.zeros(plane.shape, bool)
    if is_ct and not each.file.format.signed:
        padding = padding | (plane > HIGHEST_HU)
    if not padding.any():
        return plane, 0
    measured = plane[~padding]
    smallest = float(measured.min()) if measured.size else each.place.intercept
    fill = OUTSIDE_HU if is_ct else smallest
    changed = padding & (plane > (AIR_HU if is_ct else smallest))
    if not changed.any():
        return plane, 0
    # In the type of what was measured: padding of 63536 must not make a larger one of it
    kept = np.where(changed, fill, plane)
    dtype = np.float32 if plane.dtype.kind == "f" else _whole_type(kept)
    return kept.astype(dtype), int(changed.sum())


def _scaled(stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    if (slope, intercept) == (1.0, 0.0) and stored.dtype in BYTE_TYPES:
        return stored
    if slope != int(slope) or intercept != int(intercept):
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and told of later
            return (stored.astype(np.float64) * slope + intercept).astype(np.float32)
    values = stored.astype(np.float64) * slope + intercept
    return values.astype(_whole_type(values))


def _whole_type(values: np.ndarray) -> np.dtype:
    low, high = values.min(), values.max()
    for dtype in (np.int16, np.int32):
        limits = np.iinfo(dtype)
        if limits.min <= low and high <= limits.max:
            return np.dtype(dtype)
    return np.dtype(np.float32)


def _common(one: np.dtype, other: np.dtype) -> np.dtype:
    """A type that holds the values of both, of those that the engine works on."""
    if "f" in (one.kind, other.kind):
        return np.dtype(np.float32)
    return np.promote_types(one, other)
