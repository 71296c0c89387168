"""The box of a volume that a job is about, found by a fast network before the slow ones run.

As TotalSegmentator 2.18 does it for its ``roi_subset`` (6 mm network, 20 mm around what it finds) and for the tasks
whose networks were trained on such boxes. Unlike there, a structure that the fast network does not find leads to the
whole volume, not to an empty result.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..cache import Cache
from ..image import Box, Geometry, Image, filled_box
from ..models.resolved_job import RoiSearch
from ..monitor import Monitor
from ..preprocessing.roi import Crop
from .segment import Segmentable, segment

MOST_NAMES = 3  # of structures, in a note


def find_crop(
    volume: Image,
    fast: Segmentable,
    search: RoiSearch,
    monitor: Monitor | None = None,
    cache: Cache | None = None,
) -> Crop:
    """Find the box of a volume that a task computes, by segmenting the volume with a fast network.

    Args:
        volume: The image.
        fast: The network of ``search.fast``, or its task.
        search: Which structures the box holds, and how wide a margin it has.
        monitor: Asked whether to stop; hears nothing.
        cache: Where compiled networks are kept; None takes the user's.

    Returns:
        The box, and a note about it for the user. ``box`` is None where a structure was not found: the whole volume is
        to be computed then, and ``note`` says why.

    Raises:
        ImageError: The image does not fit the fast network.
        BackendError, OutOfMemoryError: The device is not usable, or too small.
        Cancelled: The monitor said so.
    """
    result = segment(volume, fast, search.fast.inference, (monitor or Monitor()).quiet(), cache)
    names = {name: value for value, name in result.label_names.items()}
    box = find_box(result.labels, [names[name] for name in search.structures if name in names])
    visible = {structure.name for structure in result.statistics.structures}
    missing = [name for name in search.structures if name not in visible]
    if box is None or (missing and not search.cut):
        reason = f"{_first_names(missing)} not found by {result.statistics.model}"
        return Crop(None, search.cut, f"The whole volume was computed, because a box needs to be found: {reason}.")
    box = grown(box, volume.geometry, search.margin_mm)
    return Crop(box, search.cut, _box_note(box, volume.geometry, search, result.statistics.model))


def find_box(labels: np.ndarray, values: Sequence[int]) -> Box | None:
    """The smallest box that holds every voxel of some label values; None where no voxel has one of them.

    Args:
        labels: (Z, Y, X), whole numbers from 0.
        values: Of the structures.

    Returns:
        Slices (Z, Y, X) of voxels.
    """
    table = np.zeros(int(labels.max(initial=0)) + 1, dtype=bool)
    table[[value for value in values if value < len(table)]] = True
    planes = [filled_box(table[plane][None]) for plane in labels]
    filled = [index for index, box in enumerate(planes) if box is not None]
    if not filled:
        return None
    sides = [[planes[index][axis] for index in filled] for axis in (1, 2)]
    rows, columns = (slice(min(s.start for s in each), max(s.stop for s in each)) for each in sides)
    return slice(filled[0], filled[-1] + 1), rows, columns


def grown(box: Box, geometry: Geometry, margin_mm: float) -> Box:
    """A box with a margin around it, cut at the edges of the volume.

    Args:
        box: Slices (Z, Y, X) of voxels.
        geometry: Of the volume, with its voxel size in mm.
        margin_mm: Width of the margin on each side.
    """
    margins = [int(np.ceil(margin_mm / spacing)) for spacing in geometry.spacing_mm]
    return tuple(
        slice(max(part.start - margin, 0), min(part.stop + margin, size))
        for part, margin, size in zip(box, margins, geometry.shape)
    )


def _box_note(box: Box, geometry: Geometry, search: RoiSearch, fast_name: str) -> str:
    """What the user is told of a box that was found."""
    sizes = " x ".join(f"{(part.stop - part.start) * mm:.0f}" for part, mm in zip(box, geometry.spacing_mm))
    return (
        f"Only a box of {sizes} mm (Z Y X) was computed: {search.margin_mm:g} mm around "
        f"{_first_names(search.structures)}, found by {fast_name}."
    )


def _first_names(names: Sequence[str]) -> str:
    """Names in words, at most MOST_NAMES of them."""
    unnamed = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {unnamed} more" if unnamed > 0 else "")
