"""Labels of a sheared grid on a right-angled one: for formats that programs read with right angles alone."""

from __future__ import annotations

import itertools

import numpy as np

from .geometry import Geometry


def on_right_angles(labels: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, Geometry]:
    """Take labels to the nearest voxels of a right-angled grid that holds the whole sheared one.

    Slices, across the longest side of a voxel, stay in their planes, as those of a tilted gantry do.

    Args:
        labels: (Z, Y, X).
        geometry: Their grid.

    Returns:
        Labels of the same type on the new grid, 0 where the old one does not reach, and that grid.
    """
    from scipy.ndimage import affine_transform

    axes = _right_angled(geometry.matrix[:3, :3])
    corners = np.array([*itertools.product(*((0, size - 1) for size in geometry.shape[::-1]))], dtype=float)
    inside = corners @ (np.linalg.inv(axes) @ geometry.matrix[:3, :3]).T  # in voxels of the new axes
    lower, upper = np.floor(inside.min(axis=0) + 1e-3), np.ceil(inside.max(axis=0) - 1e-3)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes, geometry.matrix[:3, 3] + axes @ lower
    size = (upper - lower).astype(int) + 1
    back = np.linalg.inv(geometry.matrix) @ affine  # new index (x, y, z) to the old one
    matrix, offset = back[:3, :3][::-1, ::-1], back[:3, 3][::-1]
    shape = tuple(int(each) for each in size[::-1])
    moved = affine_transform(labels, matrix, offset, shape, labels.dtype, order=0, mode="grid-constant", cval=0)
    return moved, Geometry(shape, affine)


def _right_angled(columns: np.ndarray) -> np.ndarray:
    """Columns at right angles: the slices, across the longest side of a voxel, keep their planes, and one of their axes
    its direction."""
    lengths = np.linalg.norm(columns, axis=0)
    across = int(lengths.argmax())
    first, second = (axis for axis in range(3) if axis != across)
    directions = columns / lengths
    for axis, earlier in ((second, (first,)), (across, (first, second))):
        for other in earlier:
            directions[:, axis] -= (directions[:, axis] @ directions[:, other]) * directions[:, other]
        directions[:, axis] /= np.linalg.norm(directions[:, axis])
    lengths[across] = columns[:, across] @ directions[:, across]
    return directions * lengths
