"""The patient's axes that are nearest to those of a voxel grid.

Follows nibabel 5.x ``orientations``, whose closest-canonical rule nnU-Net's and TotalSegmentator's users know; equality
is tested. Knows affines alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NEGATIVE, POSITIVE = "LPI", "RAS"  # directions along the patient's axes 0, 1, 2


def nearest_axes(matrix: np.ndarray) -> tuple[tuple[int, int] | None, ...]:
    """For each axis of a grid, the patient's axis that it is nearest to, and 1, or -1 where it runs the other way.

    Each of the patient's axes is given once: first to the grid's axis that lies nearest to any, and so on.

    Args:
        matrix: (4, 4), voxel index (x, y, z) to RAS mm.

    Returns:
        None for an axis that has no direction left, as in a grid without volume.
    """
    columns = matrix[:3, :3]
    lengths = np.sqrt(np.sum(columns * columns, axis=0))
    lengths[lengths == 0] = 1
    left, strengths, right = np.linalg.svd(columns / lengths)
    kept = strengths > strengths.max() * 3 * np.finfo(np.float64).eps
    rotation = left[:, kept] @ right[kept]  # the nearest one without shears
    axes: list[tuple[int, int] | None] = [None, None, None]
    for axis in np.argsort(-np.max(rotation**2, axis=0), kind="stable"):
        direction = rotation[:, axis]
        if not np.allclose(direction, 0):
            nearest = int(np.argmax(np.abs(direction)))
            axes[axis] = nearest, 1 if direction[nearest] > 0 else -1
            rotation[nearest] = 0  # taken
    return tuple(axes)


def codes_of(axes: Sequence[tuple[int, int] | None]) -> tuple[str | None, ...]:
    """Letters of :func:`nearest_axes`, as ('R', 'A', 'S')."""
    return tuple(axis and (POSITIVE if axis[1] > 0 else NEGATIVE)[axis[0]] for axis in axes)


def axes_of(codes: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """What :func:`nearest_axes` gives of a grid whose letters these are."""
    return tuple((POSITIVE.index(code), 1) if code in POSITIVE else (NEGATIVE.index(code), -1) for code in codes)
