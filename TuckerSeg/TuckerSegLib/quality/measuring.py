"""Where the known structures of a label map lie in the patient, how large they are, and which the border cuts.

A coarse view of the labels is counted once per axis; only the six faces of the volume are looked at voxel by voxel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..image import Box, Geometry, oriented
from .layout import Place, place_of

COARSE_MM = 2.5
MOST_VOXELS = 2_500_000  # of the coarse view
SMALLEST_ML = 0.3  # below, an island of a few voxels is no structure
CUT_MM2 = 20.0  # this much of a structure at a face of the volume, and more of it lies outside
FACE_MM = 3.0  # resampling leaves so much at the faces that is not labeled
TAIL = 0.01  # of a structure's voxels, at either end: islands do not count for where it begins and ends


@dataclass(frozen=True)
class Measured:
    """One known structure that was found.

    Attributes:
        name: As the model has it.
        place: Where it is expected.
        volume_ml: How much of it was found.
        center_mm: Median of its voxels, RAS.
        lowest_mm, highest_mm: Where it begins and ends along the superior axis, but for its outermost voxels.
        partial: The border of the image cuts it.
    """

    name: str
    place: Place
    volume_ml: float
    center_mm: tuple[float, float, float]
    lowest_mm: float
    highest_mm: float
    partial: bool


def known_places(names: Mapping[int, str]) -> dict[int, Place]:
    """Label values whose structures are known."""
    found = {value: place_of(name) for value, name in names.items()}
    return {value: place for value, place in found.items() if place is not None}


def measure_structures(
    labels: np.ndarray,
    geometry: Geometry,
    names: Mapping[int, str],
    volumes_ml: Mapping[int, float],
    content: Box | None = None,
) -> list[Measured]:
    """Measure every known structure of at least ``SMALLEST_ML``.

    Args:
        labels: (Z, Y, X), whole numbers.
        geometry: Its grid.
        names: By value.
        volumes_ml: By value, as ``image.segment_volumes_ml`` gives them.
        content: The part of the volume that was scanned, without padding; None takes all of it.
    """
    wanted = {value: place for value, place in known_places(names).items() if volumes_ml.get(value, 0) >= SMALLEST_ML}
    if not wanted:
        return []
    values = sorted(wanted)
    cut = _cut_values(labels[content] if content else labels, geometry)
    turned, grid = oriented(labels, geometry)
    steps = _steps(turned.shape, grid.spacing_mm)
    coarse = _numbered(turned[tuple(slice(None, None, step) for step in steps)], values)
    centers, ends = [], []
    for axis, step in enumerate(steps):
        shares = _cumulative_shares(coarse, axis, len(values))
        centers.append(step * _reached(shares, 0.5))
        ends.append((step * _reached(shares, TAIL), step * _reached(shares, 1 - TAIL)))
    matrix = grid.matrix
    points = np.stack(centers[::-1]) * 1.0  # x, y, z
    world = matrix[:3, :3] @ points + matrix[:3, 3:]
    along_z = np.linalg.norm(matrix[:3, 2])
    seen = np.array([(coarse == number).any() for number in range(1, len(values) + 1)])
    return [
        Measured(
            name=names[value],
            place=wanted[value],
            volume_ml=volumes_ml[value],
            center_mm=tuple(float(coordinate) for coordinate in world[:, number]),
            lowest_mm=float(world[2, number] + (ends[0][0][number] - centers[0][number]) * along_z),
            highest_mm=float(world[2, number] + (ends[0][1][number] - centers[0][number]) * along_z),
            partial=value in cut,
        )
        for number, value in enumerate(values)
        if seen[number]
    ]


def _steps(shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> list[int]:
    steps = [max(1, int(COARSE_MM / spacing)) for spacing in spacing_mm]
    while np.prod([-(-size // step) for size, step in zip(shape, steps)]) > MOST_VOXELS:
        finest = min(range(3), key=lambda axis: steps[axis] * spacing_mm[axis])
        steps[finest] += 1
    return steps


def _numbered(labels: np.ndarray, values: list[int]) -> np.ndarray:
    """Labels as 1, 2, ... in the order of ``values``; everything else 0."""
    table = np.zeros(max(int(labels.max()), values[-1]) + 1, dtype=np.int32)
    table[values] = np.arange(1, len(values) + 1)
    return table[labels]


def _cumulative_shares(numbered: np.ndarray, axis: int, count: int) -> np.ndarray:
    """Of each structure, what share of its voxels lies up to each index of an axis, (size, count)."""
    size = numbered.shape[axis]
    shift = np.arange(size, dtype=np.int32).reshape([-1 if axis == other else 1 for other in range(3)]) * (count + 1)
    counts = np.bincount((numbered + shift).ravel(), minlength=size * (count + 1)).reshape(size, count + 1)[:, 1:]
    return np.cumsum(counts, axis=0) / np.maximum(counts.sum(axis=0), 1)


def _reached(shares: np.ndarray, share: float) -> np.ndarray:
    """First index at which each structure's share is reached."""
    return (shares >= share - 1e-9).argmax(axis=0)


def _cut_values(labels: np.ndarray, geometry: Geometry) -> set[int]:
    """Values of which a plane at a face of the volume holds ``CUT_MM2`` or more."""
    cut: set[int] = set()
    for axis in range(3):
        planes, spacing = np.moveaxis(labels, axis, 0), geometry.spacing_mm
        pixel_mm2 = np.prod(spacing) / spacing[axis]
        depth = min(max(1, round(FACE_MM / spacing[axis])), len(planes))
        for index in (*range(depth), *range(-depth, 0)):
            counts = np.bincount(planes[index].ravel())
            cut |= {int(value) for value in np.flatnonzero(counts * pixel_mm2 >= CUT_MM2)}
    return cut - {0}
