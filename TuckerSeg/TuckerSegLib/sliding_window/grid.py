"""The grid of patches of nnU-Net: as few patches as the step fraction allows, spread evenly.

Source: nnunetv2 2.x ``sliding_window_prediction.compute_steps_for_sliding_window``; padding as
``acvl_utils.pad_nd_image`` does it for ``nnUNetPredictor``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from ..errors import SpecError


def patch_origins(shape: Sequence[int], patch_shape: Sequence[int], step_fraction: float) -> list[tuple[int, int, int]]:
    """The grid of patches over a volume, as nnU-Net lays it.

    Args:
        shape, patch_shape, step_fraction: As for :func:`axis_origins`.

    Returns:
        First voxel (Z, Y, X) of every patch, sorted by Z, then Y, then X.

    Raises:
        SpecError: A step fraction out of its range, or sizes that are not three positive ones.
    """
    return list(itertools.product(*axis_origins(shape, patch_shape, step_fraction)))


def axis_origins(shape: Sequence[int], patch_shape: Sequence[int], step_fraction: float) -> list[list[int]]:
    """First voxels of the patches along each axis; every combination of them is a patch of the grid.

    Args:
        shape: (Z, Y, X) of the volume; an axis shorter than the patch counts as padded to it.
        patch_shape: (Z, Y, X) of a patch.
        step_fraction: Largest step between patches as a fraction of the patch, above 0 and at most 1.

    Raises:
        SpecError: A step fraction out of its range, or sizes that are not three positive ones.
    """
    if not 0 < step_fraction <= 1:
        raise SpecError(f"The step fraction is {step_fraction}; it must be above 0 and at most 1.")
    if len(shape) != 3 or len(patch_shape) != 3 or min(*shape, *patch_shape) < 1:
        raise SpecError(f"Expected two shapes (Z, Y, X) of at least 1; found {tuple(shape)}, {tuple(patch_shape)}.")
    axes = []
    for size, patch in zip(shape, patch_shape, strict=True):
        if patch == 1:  # nnU-Net takes every slice once, and has no overlap where a patch is one slice thick
            axes.append(list(range(size)))
            continue
        span = max(size - patch, 0)
        steps = math.ceil(span / (patch * step_fraction))
        step = span / steps if steps else 0.0  # divide before multiplying: nnU-Net's own rounding
        axes.append([round(step * index) for index in range(steps + 1)])
    return axes


def padding(shape: Sequence[int], patch_shape: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """How far a volume is padded so that one patch fits into it.

    Args:
        shape: (Z, Y, X) of the volume.
        patch_shape: (Z, Y, X) of a patch.

    Returns:
        Voxels before and after, for each axis; of an odd number the one more goes after.
    """
    missing = [max(patch - size, 0) for size, patch in zip(shape, patch_shape, strict=True)]
    return tuple((total // 2, total - total // 2) for total in missing)
