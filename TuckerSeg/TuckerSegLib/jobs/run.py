"""One job from files to file. Progress goes out as events (plain dictionaries); nothing is printed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .. import image
from ..cache import Cache
from ..errors import OutputError, SpecError
from ..estimation.measurements import Measurements
from ..estimation.timing import remember_run
from ..models.task import bring_all_networks, search_of, task_of
from ..monitor import Listener, Monitor
from ..preprocessing.roi import Crop
from ..records.job import Job
from ..segmentation.localization import find_crop
from ..segmentation.prepared_task import prepare_task
from ..segmentation.segment import SegmentationResult, segment
from .progress import ProgressTracker


def run_job(
    job: Job,
    on_event: Listener | None = None,
    cancelled: Callable[[], bool] | None = None,
    cache: Cache | None = None,
    monitor: Monitor | None = None,
) -> SegmentationResult:
    """Do a job: download networks that are missing, read the image while the first network is loaded and prepared.

    Args:
        on_event: Receives ``stage``, ``progress`` and ``log`` events.
        cancelled: Asked between steps and patches; a run that is cancelled leaves no file behind.
        cache: None takes the user's.
        monitor: In place of ``on_event`` and ``cancelled``, which make one.

    Raises:
        TuckerSegError: With a message for the user.
        Cancelled: ``cancelled`` said so.
    """
    if not job.images:
        raise SpecError("The job names no image; one file per channel, or a folder of DICOM slices, is needed.")
    if job.output:
        image.check_output(job.output)
        _keep_inputs(job)
    cache = cache or Cache()
    monitor = monitor or Monitor(on_event, cancelled)
    bring_all_networks(job, monitor)
    monitor = monitor.through(ProgressTracker(monitor.on_event))
    reader = ThreadPoolExecutor(1)
    try:
        with monitor.warnings_noted():
            reading = reader.submit(_read, job, monitor)
            with monitor.stage("load"):
                task = task_of(job, cache)
            crop = _crop(job, reading.result, cache, monitor)
            ready = prepare_task(task, job.inference, cache, monitor, reading.result)
            with contextlib.closing(ready):
                ready.begin()
                images = [reading.result()]
                del reading
                monitor.check()
                if job.output:
                    label_bytes = image.label_type(max(task.label_names, default=0)).itemsize
                    image.check_space(job.output, images[0].geometry, label_bytes)
                result = segment(images.pop(), ready, job.inference, monitor, crop=crop)
                remember_run(result.statistics, job.inference, Measurements(cache))
    finally:
        reader.shutdown(wait=False)  # a user who stops the run does not wait for the file to be read
    monitor.check()
    if job.output:
        with monitor.stage("write"):
            result.save(job.output)
    return result.timed(monitor)


def _crop(
    job: Job,
    volume: Callable[[], image.Image],
    cache: Cache,
    monitor: Monitor,
) -> Crop | None:
    """The box that a job is about; the fast network is gone before the slow ones are prepared."""
    search = search_of(job)
    if search is None:
        return None
    found = volume()
    with monitor.stage("locate"):
        return find_crop(found, task_of(search.job, cache), search, monitor, cache)


def _keep_inputs(job: Job) -> None:
    output = Path(job.output).absolute()
    for source in map(Path, job.images):
        if output.exists() and source.exists() and output.samefile(source):
            raise OutputError(f"{output} is the image that is read; name another file for the labels.")
        if source.is_dir() and output.resolve().is_relative_to(source.resolve()):
            raise OutputError(f"{output} lies in the folder of the image that is read; name another folder.")


def _read(job: Job, monitor: Monitor) -> image.Image:
    with monitor.stage("read"):
        return image.read_image(job.images if len(job.images) > 1 else job.images[0], job.timepoint)
