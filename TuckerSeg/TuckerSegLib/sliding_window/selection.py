"""Selects the patches that are run where only a part of a volume, given as a mask, is to be computed.

Two things save patches: the grid covers the mask's box instead of the whole volume, where that takes fewer patches; and
patches that do not touch the mask are left out. Knows masks, and nothing of what they stand for.
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
    """The patches of a volume that are run.

    Attributes:
        origins: First voxels of the patches in the padded volume, ordered along Z first.
        total: Number of patches that the whole volume takes.
        box: The part of the volume that the patches cover, slices of (Z, Y, X).
        alone: Whether the grid has only one patch, so that its prediction needs no weights.
    """

    origins: tuple[tuple[int, int, int], ...]
    total: int
    box: Box
    alone: bool = False

    @property
    def skipped(self) -> int:
        """Number of patches that are not run."""
        return self.total - len(self.origins)


def select_patches(
    shape: Sequence[int],
    patch_shape: Sequence[int],
    step_fraction: float,
    mask: np.ndarray | None = None,
    keep_grid: bool = False,
) -> Selection:
    """Select the patches that touch a mask.

    Every voxel of the mask is computed by all patches of the grid that hold it, as if no patch were left out.

    Args:
        shape: (Z, Y, X) of the volume, in voxels.
        patch_shape, step_fraction: As for :func:`axis_origins`.
        mask: Boolean (Z, Y, X) over the whole volume, of its shape or coarser; None: all patches are run.
        keep_grid: Keep the grid of the whole volume, so that voxels of the mask get exactly what a run of all patches
            gives them, even where a grid over the mask's box would have fewer patches.

    Raises:
        SpecError: Sizes or the step fraction are out of their range.
    """
    axes = axis_origins(shape, patch_shape, step_fraction)
    total = math.prod(len(axis) for axis in axes)
    if mask is not None and not mask.any():
        return Selection((), total, (slice(0, 0),) * 3)
    if mask is not None and not keep_grid:
        over_box = _origins_over_box(mask, shape, patch_shape, step_fraction)
        axes = over_box if math.prod(len(axis) for axis in over_box) < total else axes
    origins = list(itertools.product(*axes))
    alone = len(origins) == 1
    before = [pad for pad, _ in padding(shape, patch_shape)]
    if mask is not None:
        firsts = [[first - pad for first in axis] for axis, pad in zip(axes, before)]
        hits = _patches_on_mask(mask, shape, patch_shape, firsts)
        origins = [origin for origin, hit in zip(origins, hits.ravel(), strict=True) if hit]
    low, high = np.min(origins, axis=0) - before, np.max(origins, axis=0) + patch_shape - before
    box = tuple(slice(max(int(first), 0), min(int(last), size)) for first, last, size in zip(low, high, shape))
    return Selection(tuple(origins), total, box, alone)


def _origins_over_box(
    mask: np.ndarray, shape: Sequence[int], patch_shape: Sequence[int], step_fraction: float
) -> list[list[int]]:
    """First voxels along each axis of a grid over the mask's box, which is at least as large as a patch."""
    box = []
    for axis, (size, patch) in enumerate(zip(shape, patch_shape, strict=True)):
        hits = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        start, stop = _rescale(int(hits[0]), int(hits[-1]) + 1, size, mask.shape[axis])
        length = min(max(stop - start, patch), size)
        start = min(max((start + stop - length) // 2, 0), size - length)
        box.append((start, length))
    axes = axis_origins([length for _, length in box], patch_shape, step_fraction)
    return [[start + first for first in axis] for (start, _), axis in zip(box, axes, strict=True)]


def _patches_on_mask(
    mask: np.ndarray, shape: Sequence[int], patch_shape: Sequence[int], axes: Sequence[Sequence[int]]
) -> np.ndarray:
    """Whether each patch of a grid touches the mask; (patches along Z, Y, X)."""
    hits = np.asarray(mask, dtype=bool)
    for axis, (size, patch, firsts) in enumerate(zip(shape, patch_shape, axes, strict=True)):
        moved = np.moveaxis(hits, axis, 0)
        ranges = [_rescale(max(first, 0), min(first + patch, size), len(moved), size) for first in firsts]
        hits = np.moveaxis(np.stack([moved[start:stop].any(axis=0) for start, stop in ranges]), 0, axis)
    return hits


def _rescale(start: int, stop: int, size: int, old_size: int) -> tuple[int, int]:
    """The range of an axis of ``size`` voxels that touches a range of the same axis in ``old_size`` voxels."""
    return start * size // old_size, -(-stop * size // old_size)
