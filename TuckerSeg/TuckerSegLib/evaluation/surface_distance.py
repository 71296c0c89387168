"""Normalized surface Dice (NSD) of two label maps, structure by structure. Knows arrays, not files.

The normalized surface Dice of Nikolov et al. 2021, "Clinically applicable segmentation of head and neck anatomy"
(J. Med. Internet Res. 23(7), e26151), as DeepMind's ``surface-distance`` 0.1 computes it: the surface lies between
voxels, each block of 2x2x2 voxels that it crosses is an element with an area, and the voxels beyond the volume's
border belong to no structure. Equality with that package is tested; beyond it, what exceeds the tolerance by no more
than the rounding of a file's spacing is within it. Surfaces' elements are kept only, not maps of distances, so that a
whole body's structures fit into a laptop's memory.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from ..errors import SpecError

Point = tuple[float, float, float]

CORNERS = tuple(itertools.product((0, 1), repeat=3))  # (z, y, x) of a block's voxels; bit k of a code is corner k
ALL_INSIDE = 255
# Of a voxel: with it, two voxels of 1.5 mm are 3 mm although a file says 1.50000006, which moves NSD by up to 0.05
ROUNDING = 1e-5


def nsd_per_label(
    labels: np.ndarray, reference: np.ndarray, spacing_mm: Sequence[float], tolerance_mm: float
) -> dict[int, float]:
    """Normalized surface Dice of every label (but 0) that is in either map.

    Args:
        labels, reference: (Z, Y, X), small non-negative integers.
        spacing_mm: Voxel size, (Z, Y, X).
        tolerance_mm: Surfaces that are no farther apart than this agree.

    Returns:
        Label value to the share, by area, of both surfaces that lies within the tolerance of the other one; 0 for a
        label that only one of the maps has.

    Raises:
        SpecError: The tolerance is negative or not a number.
        ValueError: Maps of different shapes.
    """
    from scipy.ndimage import find_objects

    check_tolerance(tolerance_mm)
    if labels.shape != reference.shape:
        raise ValueError(f"Label maps of one shape were expected; found {labels.shape} and {reference.shape}.")
    nsd, areas = {}, element_areas(spacing_mm)
    boxes = itertools.zip_longest(find_objects(labels), find_objects(reference))
    for value, (box, reference_box) in enumerate(boxes, 1):
        if box and reference_box:
            surfaces = [
                (positions * np.asarray(spacing_mm, dtype=np.float64), areas[codes])
                for positions, codes in (_elements(labels, value, box), _elements(reference, value, reference_box))
            ]
            nsd[value] = _share_within(*surfaces, tolerance_mm + ROUNDING * min(spacing_mm))
        elif box or reference_box:
            nsd[value] = 0.0
    return nsd


def check_tolerance(tolerance_mm: float) -> None:
    """Refuse a tolerance that is negative or not a number.

    Raises:
        SpecError: The tolerance is negative, infinite or not a number.
    """
    if not (math.isfinite(tolerance_mm) and tolerance_mm >= 0):
        raise SpecError(f"The tolerance is 0 mm or more; found {tolerance_mm:g}.")


def element_areas(spacing_mm: Sequence[float]) -> np.ndarray:
    """Area of a structure's surface in a block of 2x2x2 voxels, for each of the 256 sets of voxels inside it.

    Args:
        spacing_mm: Voxel size, (Z, Y, X).

    Returns:
        (256,) in mm²; bit k of an index says that voxel ``CORNERS[k]`` is inside; 0 where all or none are.
    """
    scale = np.asarray(spacing_mm, dtype=np.float64)
    return np.array([_area(np.array(triangles).reshape(-1, 3, 3) * scale) for triangles in _triangulations()])


def _elements(labels: np.ndarray, value: int, box: tuple[slice, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The blocks that a structure's surface crosses: index of the last voxel of each, (N, 3), and codes (N,).

    Args:
        labels: (Z, Y, X).
        value: The structure.
        box: The part of the labels that holds it.
    """
    inside = np.zeros([part.stop - part.start + 2 for part in box], dtype=np.uint8)
    inside[1:-1, 1:-1, 1:-1] = labels[box] == value
    codes = np.zeros([size - 1 for size in inside.shape], dtype=np.uint8)
    for bit, corner in enumerate(CORNERS):
        codes |= inside[tuple(slice(at, at + size) for at, size in zip(corner, codes.shape))] << np.uint8(bit)
    crossed = np.nonzero((codes != 0) & (codes != ALL_INSIDE))
    return np.stack(crossed, axis=1) + [part.start for part in box], codes[crossed]


def _share_within(
    first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray], limit_mm: float
) -> float:
    """Share of two surfaces' area that lies nearer than the limit to the other. A surface: mm (N, 3), areas (N,)."""
    from scipy.spatial import KDTree

    first_tree, second_tree = KDTree(first[0]), KDTree(second[0])
    near = 0.0
    for (positions, areas), other in ((first, second_tree), (second, first_tree)):
        distances, _ = other.query(positions, distance_upper_bound=limit_mm)
        near += areas[np.isfinite(distances)].sum()
    return float(near / (first[1].sum() + second[1].sum()))


def _area(triangles: np.ndarray) -> float:
    """Total area of triangles (N, 3 corners, 3)."""
    sides = triangles[:, 1:] - triangles[:, :1]
    return float(np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1).sum() / 2)


@functools.cache
def _triangulations() -> tuple[list[list[Point]], ...]:
    """Triangles of the surface through a block of unit voxels, by code."""
    return tuple([triangle for loop in _loops(code) for triangle in _largest_fan(loop)] for code in range(256))


def _largest_fan(loop: list[Point]) -> list[list[Point]]:
    """A polygon cut into triangles that share a corner.

    Some polygons are bent, so that the corner matters: the package's table has the one of the largest area in unit
    voxels, whatever the spacing.
    """
    turned = (loop[start:] + loop[:start] for start in range(len(loop)))
    fans = [[[first, *pair] for pair in itertools.pairwise(rest)] for first, *rest in turned]
    return max(fans, key=lambda fan: round(_area(np.array(fan)), 9))


def _loops(code: int) -> Iterator[list[Point]]:
    """Closed polygons around the rarer kind of voxels, through the middles of a block's edges.

    Diagonal neighbors of that kind on a face are kept apart; a structure and its complement have the same surface.
    """
    inside = {corner for bit, corner in enumerate(CORNERS) if code >> bit & 1}
    rarer = inside if len(inside) <= len(CORNERS) // 2 else set(CORNERS) - inside
    following: dict[Point, Point] = {}  # around each run of such corners on a face: where a side enters and leaves it
    for face in _faces():
        for first in range(len(face)):
            if face[first] in rarer and face[first - 1] not in rarer:
                last = first
                while face[(last + 1) % 4] in rarer:
                    last = (last + 1) % 4
                following[_middle(face[first - 1], face[first])] = _middle(face[last], face[(last + 1) % 4])
    while following:
        loop = [next(iter(following))]
        while (point := following.pop(loop[-1])) != loop[0]:
            loop.append(point)
        yield loop


def _faces() -> Iterator[list[tuple[int, ...]]]:
    """The four corners of each of a block's faces, all in the same turn as seen from outside.

    Two faces run along their common edge in opposite directions: where a polygon leaves one, it enters the other.
    """
    for axis, side in itertools.product(range(3), (0, 1)):
        ring = [(side, 0, 0), (side, 1, 0), (side, 1, 1), (side, 0, 1)]  # along this axis and the two after it
        corners = [tuple(corner[(place - axis) % 3] for place in range(3)) for corner in ring]
        yield corners if side else corners[::-1]


def _middle(first: tuple[int, ...], second: tuple[int, ...]) -> Point:
    z, y, x = ((one + other) / 2 for one, other in zip(first, second))
    return z, y, x
