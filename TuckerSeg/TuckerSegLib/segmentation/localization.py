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

NAMED = 3  # structures that a note names


def find_crop(
    volume: Image,
    fast: Segmentable,
    search: RoiSearch,
    monitor: Monitor | None = None,
    cache: Cache | None = None,
) -> Crop:
    """Look for the box of a job.

    Args:
        fast: The network of ``search.fast``.
        monitor: Asked whether to stop; hears nothing.
        cache: None takes the user's.

    Returns:
        Its ``box`` is None where a structure was not found, so that the whole volume is meant; ``note`` says why.
    """
    result = segment(volume, fast, search.fast.inference, (monitor or Monitor()).quiet(), cache)
    names = {name: value for value, name in result.label_names.items()}
    box = find_box(result.labels, [names[name] for name in search.structures if name in names])
    found = {structure.name for structure in result.statistics.structures}
    missing = [name for name in search.structures if name not in found]
    if box is None or (missing and not search.cut):
        words = f"{_some(missing)} not found by {result.statistics.model}"
        return Crop(None, search.cut, f"The whole volume was computed, because a box needs to be found: {words}.")
    box = grown(box, volume.geometry, search.margin_mm)
    return Crop(box, search.cut, _told(box, volume.geometry, search, result.statistics.model))


def find_box(labels: np.ndarray, values: Sequence[int]) -> Box | None:
    """The smallest box (Z, Y, X) that holds every voxel of some label values; None where there is none."""
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
    """A box with a margin around it, cut at the volume's edges."""
    margins = [int(np.ceil(margin_mm / spacing)) for spacing in geometry.spacing_mm]
    return tuple(
        slice(max(part.start - margin, 0), min(part.stop + margin, size))
        for part, margin, size in zip(box, margins, geometry.shape)
    )


def _told(box: Box, geometry: Geometry, search: RoiSearch, by: str) -> str:
    sizes = " x ".join(f"{(part.stop - part.start) * mm:.0f}" for part, mm in zip(box, geometry.spacing_mm))
    return (
        f"Only a box of {sizes} mm (Z Y X) was computed: {search.margin_mm:g} mm around {_some(search.structures)}, "
        f"found by {by}."
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
