"""One job from files to file. Progress goes out as events (plain dictionaries); nothing is printed."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .. import image
from ..cache import Cache
from ..errors import OutputError, SpecError
from ..estimation.measurements import Measurements
from ..estimation.timing import remember_run
from ..models.task import bring_all_networks, search_of, task_of
from ..monitor import Listener, Stopwatch, stop_if, warnings_as_events
from ..preprocessing.roi import Crop
from ..records.job import Job
from ..segmentation.localization import find_crop
from ..segmentation.prepared_task import prepare_task
from ..segmentation.segment import SegmentationResult, segment
from .progress import ProgressTracker


def run_job(
    job: Job,
    on_event: Listener = lambda event: None,
    cancelled: Callable[[], bool] = lambda: False,
    cache: Cache | None = None,
) -> SegmentationResult:
    """Do a job: download networks that are missing, read the image while the first network is loaded and prepared.

    Args:
        on_event: Receives ``stage``, ``progress`` and ``log`` events.
        cancelled: Asked between steps and patches; a run that is cancelled leaves no file behind.
        cache: None takes the user's.

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
    bring_all_networks(job, on_event, cancelled)
    on_event = ProgressTracker(on_event)
    watch = Stopwatch(on_event)
    reader = ThreadPoolExecutor(1)
    try:
        with warnings_as_events(on_event) as warned:
            reading = reader.submit(_read, job, watch)
            with watch.stage("load"):
                task = task_of(job, cache)
            stop = functools.partial(stop_if, cancelled)
            crop = _crop(job, reading.result, cache, watch, cancelled)
            ready = prepare_task(task, job.inference, cache, watch, reading.result, stop, on_event)
            with contextlib.closing(ready):
                ready.begin()
                images = [reading.result()]
                del reading
                stop()
                if job.output:
                    label_bytes = image.label_type(max(task.label_names, default=0)).itemsize
                    image.check_space(job.output, images[0].geometry, label_bytes)
                result = segment(images.pop(), ready, job.inference, watch, on_event, cancelled, warned, crop=crop)
                remember_run(result.statistics, job.inference, Measurements(cache))
    finally:
        reader.shutdown(wait=False)  # a user who stops the run does not wait for the file to be read
    stop_if(cancelled)
    if job.output:
        with watch.stage("write"):
            result.save(job.output)
    return result.timed(watch)


def _crop(
    job: Job,
    volume: Callable[[], image.Image],
    cache: Cache,
    watch: Stopwatch,
    cancelled: Callable[[], bool],
) -> Crop | None:
    """The box that a job is about; the fast network is gone before the slow ones are prepared."""
    search = search_of(job)
    if search is None:
        return None
    found = volume()
    with watch.stage("locate"):
        return find_crop(found, task_of(search.job, cache), search, cancelled, cache)


def _keep_inputs(job: Job) -> None:
    output = Path(job.output).absolute()
    for source in map(Path, job.images):
        if output.exists() and source.exists() and output.samefile(source):
            raise OutputError(f"{output} is the image that is read; name another file for the labels.")
        if source.is_dir() and output.resolve().is_relative_to(source.resolve()):
            raise OutputError(f"{output} lies in the folder of the image that is read; name another folder.")


def _read(job: Job, watch: Stopwatch) -> image.Image:
    with watch.stage("read"):
        return image.read_image(job.images if len(job.images) > 1 else job.images[0], job.timepoint)
