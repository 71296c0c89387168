"""Which patches are run where only a part of a volume matters.

Two things spare patches: the grid is laid over the box of what is wanted instead of over the whole volume, where that
takes fewer of them; and patches that see nothing of it are left out. Knows masks, and nothing of what they stand for.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .grid import axis_origins, padding

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Selection:
    """The patches that are run.

    Attributes:
        origins: Their first voxels in the padded volume, ordered along the slowest axis.
        total: Patches that the whole volume takes.
        box: The part of the volume that they touch, slices of (Z, Y, X).
        alone: Whether their grid has this one patch only, so that nothing is to be weighted.
    """

    origins: tuple[tuple[int, int, int], ...]
    total: int
    box: Box
    alone: bool = False

    @property
    def skipped(self) -> int:
        """Patches that are spared."""
        return self.total - len(self.origins)


def select_patches(
    shape: Sequence[int],
    patch_shape: Sequence[int],
    step_fraction: float,
    wanted: np.ndarray | None = None,
    keep_grid: bool = False,
) -> Selection:
    """Select the patches that see anything wanted.

    Every wanted voxel is computed by all the patches of the grid that hold it, as if none were left out.

    Args:
        shape: (Z, Y, X) of the volume.
        patch_shape, step_fraction: See ``patch_origins``.
        wanted: Mask (Z, Y, X) over the whole volume, as fine as it or coarser; None wants everything.
        keep_grid: Leave the grid where it is for the whole volume, so that wanted voxels get what a run of all patches
            gives them, though a grid over the box of what is wanted may have fewer patches.

    Raises:
        SpecError: Sizes or the step fraction are out of their range.
    """
    axes = axis_origins(shape, patch_shape, step_fraction)
    total = math.prod(len(axis) for axis in axes)
    if wanted is not None and not wanted.any():
        return Selection((), total, (slice(0, 0),) * 3)
    if wanted is not None and not keep_grid:
        over_box = _over_box(wanted, shape, patch_shape, step_fraction)
        axes = over_box if math.prod(len(axis) for axis in over_box) < total else axes
    origins = list(itertools.product(*axes))
    alone = len(origins) == 1
    before = [pad for pad, _ in padding(shape, patch_shape)]
    if wanted is not None:
        hits = _sees(wanted, shape, patch_shape, [[first - pad for first in axis] for axis, pad in zip(axes, before)])
        origins = [origin for origin, hit in zip(origins, hits.ravel(), strict=True) if hit]
    low, high = np.min(origins, axis=0) - before, np.max(origins, axis=0) + patch_shape - before
    box = tuple(slice(max(int(first), 0), min(int(last), size)) for first, last, size in zip(low, high, shape))
    return Selection(tuple(origins), total, box, alone)


def _over_box(
    wanted: np.ndarray, shape: Sequence[int], patch_shape: Sequence[int], step_fraction: float
) -> list[list[int]]:
    """First voxels along each axis of a grid over the box of what is wanted, grown to the size of a patch."""
    box = []
    for axis, (size, patch) in enumerate(zip(shape, patch_shape, strict=True)):
        hits = np.flatnonzero(wanted.any(axis=tuple(other for other in range(3) if other != axis)))
        start, stop = _scaled(int(hits[0]), int(hits[-1]) + 1, size, wanted.shape[axis])
        length = min(max(stop - start, patch), size)
        start = min(max((start + stop - length) // 2, 0), size - length)
        box.append((start, length))
    axes = axis_origins([length for _, length in box], patch_shape, step_fraction)
    return [[start + first for first in axis] for (start, _), axis in zip(box, axes, strict=True)]


def _sees(
    wanted: np.ndarray, shape: Sequence[int], patch_shape: Sequence[int], axes: Sequence[Sequence[int]]
) -> np.ndarray:
    """Whether each patch sees anything wanted; the array has the grid's axes."""
    found = np.asarray(wanted, dtype=bool)
    for axis, (size, patch, firsts) in enumerate(zip(shape, patch_shape, axes, strict=True)):
        moved = np.moveaxis(found, axis, 0)
        ranges = [_scaled(max(first, 0), min(first + patch, size), len(moved), size) for first in firsts]
        found = np.moveaxis(np.stack([moved[start:stop].any(axis=0) for start, stop in ranges]), 0, axis)
    return found


def _scaled(start: int, stop: int, size: int, of: int) -> tuple[int, int]:
    """Voxels of an axis of ``size`` that voxels of the same axis in ``of`` voxels touch."""
    return start * size // of, -(-stop * size // of)
