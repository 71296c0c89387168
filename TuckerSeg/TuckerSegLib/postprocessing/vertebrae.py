"""Vertebrae that are told apart: separate bodies are numbered along the spine, and grown by what training took off.

As TotalSegmentator 2.18 does it for the task ``vertebrae_pp``, whose network was trained on vertebrae that were eroded
by 3 mm: different ones should not touch. Where they do, each connected body gets the number of its place. For the task
``vertebrae_pp_refined``, another network says where the bodies' borders are.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..image import Geometry, oriented

FIRST, LAST = "vertebrae_C1", "vertebrae_L5"
SMALLEST_BODY_MM3 = 100.0
GROWTH_MM, FURTHER_GROWTH_MM = 3.0, 2.0


def clean_vertebrae(labels: np.ndarray, names: Mapping[int, str], geometry: Geometry) -> str:
    """Number and grow vertebrae in place; arguments and errors as for ``cleaning.clean``."""
    from .cleaning import value_of

    first, last = (value_of(names, name, "vertebrae_pp") for name in (FIRST, LAST))
    view, turned = oriented(labels, geometry, "RAS")  # its first axis grows towards the head
    mixed = _touch(view)
    if mixed:
        _renumber(view, sorted(names), first, last, geometry.voxel_volume_ml * 1000)
    _grow(view, turned.spacing_mm, GROWTH_MM)
    done = "numbered anew along the spine, because some touched, and grown" if mixed else "grown"
    return f"Vertebrae were {done} by {GROWTH_MM:g} mm."


def refine_vertebrae(labels: np.ndarray, geometry: Geometry, mask: np.ndarray) -> str:
    """Grow vertebrae further in place, and leave of them what lies in the mask of all vertebral bodies, (Z, Y, X)."""
    view, turned = oriented(labels, geometry, "RAS")
    _grow(view, turned.spacing_mm, FURTHER_GROWTH_MM)
    labels[~mask] = 0
    return f"They were grown by {FURTHER_GROWTH_MM:g} mm more, and end where the network of vertebral bodies says."


def _touch(labels: np.ndarray) -> bool:
    """Whether voxels of two structures share a face."""
    for axis in range(3):
        lines = np.moveaxis(labels, axis, 0)
        here, there = lines[1:], lines[:-1]
        if ((here != there) & (here > 0) & (there > 0)).any():
            return True
    return False


def _renumber(labels: np.ndarray, values: list[int], first: int, last: int, voxel_mm3: float) -> None:
    """Number bodies from the lowest one, whose number is the highest there is; where L5 is not there, from C1 down."""
    from scipy import ndimage

    bodies, _ = ndimage.label(labels > 0)
    sizes = np.bincount(bodies.ravel()) * voxel_mm3
    kept = [number for number in range(1, len(sizes)) if sizes[number] >= SMALLEST_BODY_MM3]
    present = set(np.unique(labels[np.isin(bodies, kept)]).tolist()) & set(values)
    table = np.zeros(len(sizes), labels.dtype)
    if present:
        heights = [center[0] for center in ndimage.center_of_mass(bodies > 0, bodies, kept)]
        from_head = first in present and last not in present
        order = sorted(zip(heights, kept), reverse=from_head)
        numbers = range(first, max(values) + 1) if from_head else range(max(present), min(values) - 1, -1)
        for (_, body), number in zip(order, numbers):
            table[body] = number
    labels[...] = table[bodies]


def _grow(labels: np.ndarray, spacing_mm: tuple[float, float, float], growth_mm: float) -> None:
    """Grow each structure into the background around it, lower numbers first."""
    from scipy import ndimage

    radii = [growth_mm / size for size in spacing_mm]
    reach = [int(np.floor(radius)) for radius in radii]
    steps = np.ogrid[tuple(slice(-size, size + 1) for size in reach)]
    ball = sum((step / radius) ** 2 for step, radius in zip(steps, radii, strict=True)) <= 1
    before = labels.copy()
    for value, box in enumerate(ndimage.find_objects(before), 1):
        if box is None:
            continue
        around = tuple(slice(max(part.start - size, 0), part.stop + size) for part, size in zip(box, reach))
        grown = ndimage.binary_dilation(before[around] == value, ball)
        target = labels[around]
        target[grown & (target == 0)] = value
