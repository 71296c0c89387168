"""Boxes of voxels: around a point, around labels, and an image that is cropped to one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .geometry import Geometry
from .volume import Image

Box = tuple[slice, slice, slice]


def box_around(geometry: Geometry, center_mm: Sequence[float], size_mm: Sequence[float]) -> Box:
    """The voxels of a box around a point, cut at the volume's edges.

    Args:
        geometry: The volume's grid.
        center_mm: The point, RAS.
        size_mm: Edge lengths along the volume's own axes (Z, Y, X).

    Returns:
        Slices of (Z, Y, X); empty along an axis where the point is outside by more than half the box.
    """
    center = np.linalg.solve(geometry.matrix, np.append(np.asarray(center_mm, dtype=float), 1.0))[:3][::-1]
    half = np.asarray(size_mm) / 2 / np.asarray(geometry.spacing_mm)
    lower = np.clip(np.floor(center - half).astype(int), 0, geometry.shape)
    upper = np.clip(np.ceil(center + half).astype(int) + 1, 0, geometry.shape)
    return tuple(slice(int(first), int(last)) for first, last in zip(lower, upper))


def cropped(volume: Image, box: Box) -> Image:
    """A view of the part of an image in a box, with the grid of that part.

    Args:
        volume: Its array is (C, Z, Y, X).
        box: Slices of voxels along (Z, Y, X), within the image.
    """
    array = volume.array[(slice(None), *box)]
    shift = np.eye(4)
    shift[:3, 3] = [part.start for part in box][::-1]
    geometry = Geometry(array.shape[1:], volume.geometry.matrix @ shift)
    return Image(array, geometry, volume.source, volume.notes)


def filled_box(labels: np.ndarray) -> Box | None:
    """The smallest box that holds every voxel of labels (Z, Y, X) that is not 0; None where all are 0."""
    box = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        occupied = np.flatnonzero(labels.any(axis=others))
        if occupied.size == 0:
            return None
        box.append(slice(int(occupied[0]), int(occupied[-1]) + 1))
    return tuple(box)
