"""One job from files to file. Progress goes out as events (plain dictionaries); nothing is printed."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from .. import image
from ..cache import Cache
from ..errors import OutputError, SpecError
from ..models.modality import modalities_of
from ..models.resolved_job import ResolvedJob, resolve
from ..monitor import Listener, Monitor
from ..outputs import check_outputs, output_files
from ..records.job import Job
from ..segmentation.lent import Lent
from ..segmentation.segment import SegmentationResult
from .flow import Flow
from .one_shot_models import OneShotModels


def run_job(
    job: Job,
    on_event: Listener | None = None,
    cancelled: Callable[[], bool] | None = None,
    cache: Cache | None = None,
    monitor: Monitor | None = None,
) -> SegmentationResult:
    """Do a job: download networks that are missing, read the image while the first network is loaded and prepared.

    Args:
        job: Image, model, output and settings.
        on_event: Receives ``stage``, ``progress`` and ``log`` events.
        cancelled: Asked between steps and patches; a run that is cancelled leaves no file behind.
        cache: None takes the user's.
        monitor: In place of ``on_event`` and ``cancelled``, which make one.

    Raises:
        TuckerSegError: With a message for the user.
        Cancelled: ``cancelled`` said so.

    Example:
        >>> result = run_job(Job(images=("CT.nii.gz",), output="labels.nii.gz", model="demo"), on_event=print)
    """
    check_files(job)
    cache, monitor = cache or Cache(), monitor or Monitor(on_event, cancelled)
    resolved, reader = resolve(job), ThreadPoolExecutor(1)
    try:
        return Flow(OneShotModels(cache), cache).run(resolved, partial(_begin_reading, reader, resolved), monitor)
    finally:
        reader.shutdown(wait=False)  # a user who stops the run does not wait for the file to be read


def check_files(job: Job) -> None:
    """Look before a run whether a job names an image, and a file for the labels that is neither it nor out of reach.

    Raises:
        SpecError, OutputError: It does not.
    """
    if not job.images:
        raise SpecError("The job names no image; one file per channel, or a folder of DICOM slices, is needed.")
    check_outputs(job)
    for output in output_files(job):
        _keep_inputs(job, output.path)


def read_volume(resolved: ResolvedJob) -> image.Image:
    """Read the image of a job, whose channels may be files of their own.

    Raises:
        ImageError: See ``image.read_image``.
    """
    job = resolved.job
    images, modalities = job.images if len(job.images) > 1 else job.images[0], modalities_of(resolved)
    return image.read_image(images, job.timepoint, series=job.series, modality=modalities)


def _begin_reading(reader: ThreadPoolExecutor, resolved: ResolvedJob, monitor: Monitor) -> Lent[image.Image]:
    """The job's image, read while others go on; whoever looks at it waits for it."""
    return Lent(reader.submit(_read, resolved, monitor).result)


def _keep_inputs(job: Job, path: str) -> None:
    output = Path(path).absolute()
    for source in map(Path, job.images):
        if os.path.exists(output) and os.path.exists(source) and output.samefile(source):
            raise OutputError(f"{output} is the image that is read; name another file for the labels.")
        if os.path.isdir(source) and output.resolve().is_relative_to(source.resolve()):
            raise OutputError(f"{output} lies in the folder of the image that is read; name another folder.")


def _read(resolved: ResolvedJob, monitor: Monitor) -> image.Image:
    with monitor.stage("read"):
        return read_volume(resolved)
