"""Files beside the labels of a run: probabilities, statistics as TotalSegmentator's, a picture."""

from __future__ import annotations

from pathlib import Path

from ..errors import OutputError
from ..image import Image, check_output
from ..records.job import Job
from ..segmentation.result import SegmentationResult
from .preview import write_preview
from .probabilities import probability_paths, write_probabilities
from .structure_statistics import structure_statistics, write_structure_statistics
from .types import output_files, without_ending

STATISTICS, PREVIEW = "_statistics.json", "_preview.png"


def needs_image(job: Job) -> bool:
    """Whether the image is looked at once more when the labels are there."""
    return job.structure_statistics is not None


def check_extras(job: Job) -> None:
    """Look before a run whether the files beside its labels can be written.

    Raises:
        OutputError: One cannot be.
    """
    for path in extra_paths(job):
        check_output(path.with_name(f"{path.name}.nrrd"))


def extra_paths(job: Job) -> list[Path]:
    """The files that a job asks for beside its labels.

    Raises:
        OutputError: The job writes no labels.
    """
    paths = [*(probability_paths(job) or ())]
    paths += [_beside(job, STATISTICS)] if job.structure_statistics is not None else []
    return paths + ([_beside(job, PREVIEW)] if job.preview else [])


def write_extras(result: SegmentationResult, job: Job, image: Image | None) -> None:
    """Write the files that a job asks for beside its labels.

    Args:
        result: Of the run.
        job: What was asked for.
        image: That was segmented, where :func:`needs_image`.

    Raises:
        OutputError: One cannot be written.
    """
    if job.save_probabilities:
        write_probabilities(result, job)
    if job.structure_statistics is not None:
        names = {value: name for value, name in result.label_names.items() if value}
        every = job.structure_statistics == "all"
        statistics = structure_statistics(result.labels, image.array[0], result.geometry, names, every)
        write_structure_statistics(_beside(job, STATISTICS), statistics)
    if job.preview:
        colors = {segment.value: segment.color for segment in result.segments()}
        write_preview(_beside(job, PREVIEW), result.labels, result.geometry, colors)


def _beside(job: Job, ending: str) -> Path:
    """A file called as the job's first file of labels, with another ending.

    Raises:
        OutputError: The job writes no labels.
    """
    files = output_files(job)
    if not files:
        raise OutputError("Statistics, pictures and probabilities are written beside labels: name a file for these.")
    return Path(without_ending(files[0].path) + ending)
