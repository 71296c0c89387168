"""One job from files to file. Progress goes out as events (plain dictionaries); nothing is printed."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import image
from .cache import Cache
from .compressing import compress_as_asked
from .errors import Cancelled, OutputError
from .job import Job
from .loading import load_model
from .measurements import Measurements
from .model import SegmentationModel
from .progress import ProgressTracker
from .ready_model import prepare
from .segmentation import Listener, SegmentationResult, Stopwatch, segment
from .timing import remember_run


def run_job(
    job: Job,
    on_event: Listener = lambda event: None,
    cancelled: Callable[[], bool] = lambda: False,
    cache: Cache | None = None,
) -> SegmentationResult:
    """Do a job. The image is read while the model is loaded and prepared.

    Args:
        on_event: Receives ``stage``, ``progress`` and ``log`` events.
        cancelled: Asked between steps and patches; a run that is cancelled leaves no file behind.
        cache: None takes the user's.

    Raises:
        TuckerSegError: With a message for the user.
        Cancelled: ``cancelled`` said so.
    """
    if job.output:
        image.check_output(job.output)
        _keep_inputs(job)
    cache = cache or Cache()
    on_event = ProgressTracker(on_event)
    watch = Stopwatch(on_event)
    reader = ThreadPoolExecutor(1)
    try:
        with warnings_as_events(on_event) as warned:
            reading = reader.submit(_read, job, watch)
            model = _load(job, cache, watch, reading.result, cancelled)
            stop_if(cancelled)
            with watch.stage("prepare"):
                ready = prepare(model, job.inference, cache)
            with contextlib.closing(ready):
                images = [reading.result()]
                del reading
                stop_if(cancelled)
                if job.output:
                    image.check_space(job.output, images[0].geometry, 1 if model.plans.logit_channels <= 256 else 2)
                result = segment(images.pop(), ready, job.inference, watch, on_event, cancelled, warned)
                remember_run(result, ready, job.inference, Measurements(cache))
    finally:
        reader.shutdown(wait=False)  # a user who stops the run does not wait for the file to be read
    stop_if(cancelled)
    if job.output:
        with watch.stage("write"):
            result.save(job.output)
    return result.timed(watch)


def _keep_inputs(job: Job) -> None:
    output = Path(job.output).absolute()
    for source in map(Path, job.images):
        if output.exists() and source.exists() and output.samefile(source):
            raise OutputError(f"{output} is the image that is read; name another file for the labels.")
        if source.is_dir() and output.resolve().is_relative_to(source.resolve()):
            raise OutputError(f"{output} lies in the folder of the image that is read; name another folder.")


def _load(
    job: Job, cache: Cache, watch: Stopwatch, volume: Callable[[], image.Image], cancelled: Callable[[], bool]
) -> SegmentationModel:
    with watch.stage("load"):
        model = load_model(job.model, job.folds, cache)
    return compress_as_asked(model, job, cache, watch, volume, lambda: stop_if(cancelled))


def _read(job: Job, watch: Stopwatch) -> image.Image:
    with watch.stage("read"):
        return image.read_image(job.images if len(job.images) > 1 else job.images[0], job.timepoint)


def stop_if(cancelled: Callable[[], bool]) -> None:
    """Raise Cancelled where ``cancelled`` says so."""
    if cancelled():
        raise Cancelled("The run was cancelled.")


@contextlib.contextmanager
def warnings_as_events(on_event: Listener) -> Iterator[list[str]]:
    """Collect the library's own warnings as notes, and tell of them at once."""
    collected: list[str] = []

    def show(message, category, filename, lineno, file=None, line=None):
        if "TuckerSegLib" in str(filename):
            collected.append(str(message))
            on_event({"event": "log", "message": str(message)})

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = show
        yield collected
