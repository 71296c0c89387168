"""Slices that lie on no regular grid, resampled to one: tilted gantries, distances that change.

Each slice is laid where it was measured, by linear interpolation within it; between slices it is linear along their
normal. The new grid is right-angled and spans all slices, and its planes are the slices' own where these are even.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...errors import ImageError
from ..sizes import check_memory
from .stacks import GAP_ERROR, ROUNDING_MM, Stack

WHOLE_PIXEL = 1e-3  # of a pixel: a shift so near to whole ones is one
USUAL_SHARE = 0.25  # of the distances are below the new one: where they change, the dense part keeps its detail
MOST_GROWTH = 4  # of the grid within the planes: a stack tilted by 45 degrees may double it, and more
MOST_PLANES_PER_SLICE = 8  # positions come from files


def regridded(source: str, volume: np.ndarray, stack: Stack, outside: float) -> tuple[np.ndarray, np.ndarray]:
    """Resample slices to a regular grid.

    Args:
        source: Name of the folder or file, for messages.
        volume: (Z, Y, X), the slices in the stack's order.
        stack: Where they lie.
        outside: Value of voxels of the new grid that no slice covers.

    Returns:
        Array (Z', Y', X') and the new grid's affine (4, 4), voxel index (x, y, z) to LPS mm.

    Raises:
        ImageError: It does not fit into memory.
    """
    spacing = np.array(stack.slices[0].place.spacing[::-1])  # of x and y
    offsets = (stack.positions @ stack.directions[:2].T) / spacing  # (N, 2), in pixels
    least = offsets.min(axis=0)
    shifts = offsets - least
    heights = _planes(stack)
    sizes = [int(np.ceil(shifts[:, axis].max() - WHOLE_PIXEL)) + volume.shape[2 - axis] for axis in (0, 1)]
    if sizes[0] > MOST_GROWTH * volume.shape[2] or sizes[1] > MOST_GROWTH * volume.shape[1]:
        raise ImageError(
            f"{source}: its slices lie beside each other, up to {np.abs(offsets - offsets[0]).max():.0f} pixels apart "
            "within their planes; expected a stack. Give a folder with one volume."
        )
    shape = (len(heights), sizes[1], sizes[0])
    dtype = volume.dtype
    if dtype.kind in "iu":
        dtype = np.promote_types(dtype, np.min_scalar_type(int(outside)))
    check_memory(source, shape, dtype)
    result = np.empty(shape, dtype)
    for plane, (low, weight) in zip(result, _between(heights, stack.heights), strict=True):
        value = _laid(volume[low], shifts[low], shape[1:], outside)
        if weight > 0:
            value += (_laid(volume[low + 1], shifts[low + 1], shape[1:], outside) - value) * weight
        plane[...] = np.rint(value) if dtype.kind in "iu" else value
    affine = np.eye(4)
    distance = (heights[-1] - heights[0]) / (len(heights) - 1)
    affine[:3, :3] = stack.directions.T * [*spacing, distance]
    affine[:3, 3] = np.array([*(least * spacing), heights[0]]) @ stack.directions
    return result, affine


def _planes(stack: Stack) -> np.ndarray:
    """Heights of the new grid's planes: even ones from the first slice to the last."""
    gaps, count = stack.gaps, len(stack.slices)
    even = np.linspace(stack.heights[0], stack.heights[-1], count)
    if np.abs(stack.heights - even).max() > max(GAP_ERROR * stack.distance_mm, ROUNDING_MM):
        usual = float(np.quantile(gaps, USUAL_SHARE, method="lower"))
        count = round(min(gaps.sum() / usual, MOST_PLANES_PER_SLICE * count)) + 1
    return np.linspace(stack.heights[0], stack.heights[-1], count)


def _between(planes: np.ndarray, heights: np.ndarray) -> Iterator[tuple[int, float]]:
    """For each plane the slice at or below it, and how far it is towards the next one, 0 to 1."""
    for height in planes:
        low = int(np.clip(np.searchsorted(heights, height, side="right") - 1, 0, len(heights) - 2))
        weight = float(np.clip((height - heights[low]) / (heights[low + 1] - heights[low]), 0, 1))
        yield low, 0.0 if weight < WHOLE_PIXEL else weight


def _laid(plane: np.ndarray, shift: np.ndarray, shape: tuple[int, ...], outside: float) -> np.ndarray:
    """A slice (Y, X) on the new grid's plane, float32; it begins ``shift`` (x, y) pixels from the plane's corner."""
    laid = plane.astype(np.float32)
    for axis, pixels in ((1, shift[0]), (0, shift[1])):
        whole = int(np.floor(pixels + WHOLE_PIXEL))
        part = max(0.0, float(pixels) - whole)
        if part > WHOLE_PIXEL:
            # The value at an index of the new grid is that between two pixels; beyond the outer ones there is none
            low, high = (np.take(laid, range(first, laid.shape[axis] - 1 + first), axis) for first in (0, 1))
            laid = high + (low - high) * np.float32(part)
            whole += 1
        full = np.full([shape[each] if each == axis else laid.shape[each] for each in (0, 1)], outside, np.float32)
        target = [slice(None), slice(None)]
        target[axis] = slice(whole, whole + laid.shape[axis])
        full[tuple(target)] = laid
        laid = full
    return laid
