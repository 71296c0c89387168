"""Measures the known structures of a label map: position in the patient, size, and whether the image's border cuts it.

A coarse view of the labels is counted once per axis; only the six faces of the volume are looked at voxel by voxel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..image import Box, Geometry, oriented
from .body_layout import Place, place_of

COARSE_MM = 2.5
MOST_VOXELS = 2_500_000  # of the coarse view
SMALLEST_ML = 0.3  # below, an island of a few voxels is no structure
CUT_MM2 = 20.0  # this much of a structure at a face of the volume, and more of it lies outside
FACE_MM = 3.0  # resampling leaves so much at the faces that is not labeled
TAIL = 0.01  # of a structure's voxels, at either end: islands do not count for where it begins and ends


@dataclass(frozen=True)
class MeasuredStructure:
    """A known structure of a label map.

    Attributes:
        name: Its name among the model's labels.
        place: Its usual place.
        volume_ml: Its volume in the label map.
        center_mm: Median of its voxels, RAS.
        lowest_mm, highest_mm: Its ends along the superior axis (RAS), without ``TAIL`` of its voxels at either end.
        partial: Whether the border of the image cuts it.
    """

    name: str
    place: Place
    volume_ml: float
    center_mm: tuple[float, float, float]
    lowest_mm: float
    highest_mm: float
    partial: bool


def known_places(names: Mapping[int, str]) -> dict[int, Place]:
    """Usual places of the structures that are known, by label value; unknown names are left out."""
    places = {value: place_of(name) for value, name in names.items()}
    return {value: place for value, place in places.items() if place is not None}


def measure_structures(
    labels: np.ndarray,
    geometry: Geometry,
    names: Mapping[int, str],
    volumes_ml: Mapping[int, float],
    content: Box | None = None,
) -> list[MeasuredStructure]:
    """Measure every known structure of at least ``SMALLEST_ML``.

    Args:
        labels: (Z, Y, X), whole numbers.
        geometry: Its grid.
        names: Label value to name.
        volumes_ml: Label value to volume, from ``image.segment_volumes_ml``.
        content: The part of the volume that was scanned, without padding; None takes all of it.

    Returns:
        One entry per structure, by label value.
    """
    places = {value: place for value, place in known_places(names).items() if volumes_ml.get(value, 0) >= SMALLEST_ML}
    if not places:
        return []
    values = sorted(places)
    cut = _values_at_faces(labels[content] if content else labels, geometry)
    turned, grid = oriented(labels, geometry)
    steps = _coarse_steps(turned.shape, grid.spacing_mm)
    coarse = _renumber(turned[tuple(slice(None, None, step) for step in steps)], values)
    centers, ends = [], []
    for axis, step in enumerate(steps):
        shares = _cumulative_shares(coarse, axis, len(values))
        centers.append(step * _quantile_indices(shares, 0.5))
        ends.append((step * _quantile_indices(shares, TAIL), step * _quantile_indices(shares, 1 - TAIL)))
    matrix = grid.matrix
    points = np.stack(centers[::-1]) * 1.0  # x, y, z
    world = matrix[:3, :3] @ points + matrix[:3, 3:]
    along_z = np.linalg.norm(matrix[:3, 2])
    survives = np.array([(coarse == number).any() for number in range(1, len(values) + 1)])
    return [
        MeasuredStructure(
            name=names[value],
            place=places[value],
            volume_ml=volumes_ml[value],
            center_mm=tuple(float(coordinate) for coordinate in world[:, number]),
            lowest_mm=float(world[2, number] + (ends[0][0][number] - centers[0][number]) * along_z),
            highest_mm=float(world[2, number] + (ends[0][1][number] - centers[0][number]) * along_z),
            partial=value in cut,
        )
        for number, value in enumerate(values)
        if survives[number]
    ]


def _coarse_steps(shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> list[int]:
    """Steps in voxels, of about ``COARSE_MM`` or more, that leave at most ``MOST_VOXELS`` of a volume."""
    steps = [max(1, int(COARSE_MM / spacing)) for spacing in spacing_mm]
    while np.prod([-(-size // step) for size, step in zip(shape, steps)]) > MOST_VOXELS:
        finest = min(range(3), key=lambda axis: steps[axis] * spacing_mm[axis])
        steps[finest] += 1
    return steps


def _renumber(labels: np.ndarray, values: list[int]) -> np.ndarray:
    """Labels renumbered to 1, 2, ... in the order of ``values``; all other labels become 0."""
    table = np.zeros(max(int(labels.max()), values[-1]) + 1, dtype=np.int32)
    table[values] = np.arange(1, len(values) + 1)
    return table[labels]


def _cumulative_shares(numbered: np.ndarray, axis: int, count: int) -> np.ndarray:
    """Share of each structure's voxels that lies up to each index of an axis, (size, count)."""
    size = numbered.shape[axis]
    shift = np.arange(size, dtype=np.int32).reshape([-1 if axis == other else 1 for other in range(3)]) * (count + 1)
    counts = np.bincount((numbered + shift).ravel(), minlength=size * (count + 1)).reshape(size, count + 1)[:, 1:]
    return np.cumsum(counts, axis=0) / np.maximum(counts.sum(axis=0), 1)


def _quantile_indices(shares: np.ndarray, share: float) -> np.ndarray:
    """First index at which each structure's cumulative share reaches ``share``, (count,)."""
    return (shares >= share - 1e-9).argmax(axis=0)


def _values_at_faces(labels: np.ndarray, geometry: Geometry) -> set[int]:
    """Label values that cover ``CUT_MM2`` or more of a plane at one of the volume's six faces."""
    cut: set[int] = set()
    for axis in range(3):
        planes, spacing = np.moveaxis(labels, axis, 0), geometry.spacing_mm
        pixel_mm2 = np.prod(spacing) / spacing[axis]
        depth = min(max(1, round(FACE_MM / spacing[axis])), len(planes))
        for index in (*range(depth), *range(-depth, 0)):
            counts = np.bincount(planes[index].ravel())
            cut |= {int(value) for value in np.flatnonzero(counts * pixel_mm2 >= CUT_MM2)}
    return cut - {0}
