"""The box of a volume that a job is about, found by a fast network before the slow ones run.

As TotalSegmentator 2.18 does it for its ``roi_subset`` (6 mm network, 20 mm around what it finds) and for the tasks
whose networks were trained on such boxes. Unlike there, a structure that the fast network does not find leads to the
whole volume, not to an empty result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from . import catalog
from .cache import Cache
from .errors import SpecError
from .image import Box, Geometry, Image, filled_box
from .job import InferenceSpec, Job
from .region import Crop
from .segmentation import Segmentable, segment
from .segmentation_task import bring_networks
from .stopwatch import Listener, deaf
from .structure_selection import select

NAMED = 3  # structures that a note names


@dataclass(frozen=True)
class Search:
    """What is looked for.

    Attributes:
        job: Of the fast task.
        structures: Names in that task.
        margin_mm: Around them.
        cut: Whether the networks see nothing but the box, as they did in training.
    """

    job: Job
    structures: tuple[str, ...]
    margin_mm: float
    cut: bool


def search_of(job: Job) -> Search | None:
    """What a job's box is to be found by; None where the whole volume is meant.

    Raises:
        SpecError: A box is asked for, but no structures are, or no fast network is known for the model.
    """
    task = catalog.task(job.model)
    cut = bool(task and task.crop_structures)
    if job.crop == "none" or (job.crop is None and not cut):
        return None
    if not cut and job.structures is None:
        raise SpecError("A crop is the box of the structures that are wanted: name them, as --structures liver,spleen.")
    if task is None or task.crop_task is None:
        known = ", ".join(each.name for each in catalog.tasks() if each.crop_task)
        raise SpecError(f"No fast network is known that finds structures for {job.model}; there is one for {known}.")
    if cut:
        structures = task.crop_structures
    else:
        structures = tuple(select(job.structures, [name for _, name in task.structures], task.name))
    fast = Job((), model=task.crop_task, inference=_fast(job.inference))
    return Search(fast, structures, task.crop_margin_mm, cut)


def bring_all_networks(job: Job, on_event: Listener = deaf, cancelled: Callable[[], bool] = lambda: False) -> None:
    """Download the networks that a job needs, that which finds its box included; see ``bring_networks``."""
    bring_networks(job, on_event, cancelled)
    if search := search_of(job):
        bring_networks(search.job, on_event, cancelled)


def find_crop(
    volume: Image,
    fast: Segmentable,
    search: Search,
    cancelled: Callable[[], bool] = lambda: False,
    cache: Cache | None = None,
) -> Crop:
    """Look for the box of a job.

    Args:
        fast: The network of ``search.job``.
        cache: None takes the user's.

    Returns:
        Its ``box`` is None where a structure was not found, so that the whole volume is meant; ``note`` says why.
    """
    result = segment(volume, fast, search.job.inference, cancelled=cancelled, cache=cache)
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


def _fast(inference: InferenceSpec) -> InferenceSpec:
    """As the job's own run, but in the fast task's steps, and with what is quick where nobody sees the result."""
    return InferenceSpec(
        device=inference.device,
        precision=inference.precision,
        threads=inference.threads,
        output_grid="nearest",
        skip_empty=inference.skip_empty,
    )


def _told(box: Box, geometry: Geometry, search: Search, by: str) -> str:
    sizes = " x ".join(f"{(part.stop - part.start) * mm:.0f}" for part, mm in zip(box, geometry.spacing_mm))
    return (
        f"Only a box of {sizes} mm (Z Y X) was computed: {search.margin_mm:g} mm around {_some(search.structures)}, "
        f"found by {by}."
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
