"""One job from files to file: reads, loads, predicts, writes, and counts what it cost.

Knows nothing of terminals or Qt: progress goes out as events (plain dictionaries), the same that the worker
prints as JSON lines.
"""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from . import catalog, compression, hardware, image
from .cache import Cache
from .errors import Cancelled
from .job import InferenceSpec, Job
from .loading import compress, load_model
from .model import SegmentationModel
from .nnunet.plans import ModelPlans
from .predictor import predict
from .preprocessing import preprocess
from .ready_model import ReadyModel, describe, prepare
from .statistics import RunStatistics, Structure, versions

if TYPE_CHECKING:
    import numpy as np

Event = dict[str, Any]


@dataclass(frozen=True)
class SegmentationResult:
    """Labels (Z, Y, X) on the input's grid, with their names and what they cost."""

    labels: np.ndarray
    geometry: image.Geometry
    label_names: dict[int, str]
    statistics: RunStatistics


class Stopwatch:
    """Seconds per stage; a stage may be entered again. Tells of each stage's start."""

    def __init__(self, on_event: Callable[[Event], None]):
        self.seconds: dict[str, float] = {}
        self._on_event = on_event
        self._started = time.perf_counter()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._on_event({"event": "stage", "stage": name})
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def total(self) -> float:
        return time.perf_counter() - self._started


def run(
    job: Job,
    on_event: Callable[[Event], None] = lambda event: None,
    cancelled: Callable[[], bool] = lambda: False,
    cache: Cache | None = None,
) -> SegmentationResult:
    """Do a job.

    Args:
        on_event: Receives ``stage``, ``progress``, ``log`` events.
        cancelled: Asked between steps; a run that is cancelled leaves no file behind.

    Raises:
        TuckerSegError: With a message for the user.
        Cancelled: ``cancelled`` said so.
    """
    if job.output:
        image.check_output(job.output)
    cache = cache or Cache()
    watch = Stopwatch(on_event)
    reader = ThreadPoolExecutor(1)
    try:
        with _warnings_as_events(on_event) as warned:
            reading = reader.submit(_read, job, watch)
            original, model = load_compressed(job, cache, watch)
            _stop_if(cancelled)
            with watch.stage("prepare"):
                ready = prepare(original, model, job.inference, cache)
            images = [reading.result()]
            del reading
            _stop_if(cancelled)
            result = segment(images.pop(), ready, job.inference, watch, on_event, cancelled, warned)
        ready.close()
    finally:
        reader.shutdown(wait=False)  # a user who stops the run does not wait for the file to be read
    if job.output:
        with watch.stage("write"):
            write(result, job.output)
    return _with_seconds(result, watch)


def load_compressed(job: Job, cache: Cache, watch: Stopwatch) -> tuple[SegmentationModel, SegmentationModel]:
    """The original model and the one to run."""
    with watch.stage("load"):
        original = load_model(catalog.model_path(job.model), job.folds, cache)
    if job.method is None or original.recipes:
        return original, original
    with watch.stage("compress"):
        spec = compression.method(job.method).Spec(**job.compression)
        return original, compress(original, spec, job.method, cache)


def segment(
    volume_image: image.Image,
    ready: ReadyModel,
    inference: InferenceSpec,
    watch: Stopwatch | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
    cancelled: Callable[[], bool] = lambda: False,
    notes: Sequence[str] = (),
) -> SegmentationResult:
    """Segment an image with a model that is ready.

    Raises:
        ImageError: The image does not fit the model.
        OutOfMemoryError: See :func:`predictor.predict`.
        Cancelled: ``cancelled`` said so.
    """
    watch = watch or Stopwatch(on_event)
    plans = ready.model.plans
    notes = [*notes, *ready.notes, *volume_image.notes, *_doubts(volume_image, plans)]
    with watch.stage("preprocess"):
        convention = catalog.resampling_convention(plans.dataset_name)
        volume = preprocess(volume_image, plans, convention)
    facts = _VolumeFacts(volume_image.source, volume_image.geometry)
    del volume_image  # a large CT: its memory is needed for the patches
    on_event({"event": "stage", "stage": "network"})
    prediction = predict(volume, ready.model, ready.network, inference, _progress(on_event), cancelled)
    watch.seconds["network"] = prediction.network_s
    watch.seconds["finish"] = prediction.finish_s
    names = {label.value: label.name for label in plans.labels}
    volumes = image.segment_volumes_ml(prediction.labels, facts.geometry)
    structures = tuple(Structure(value, names[value], volumes[value]) for value in sorted(volumes) if value in names)
    if not structures:
        notes.append(_why_nothing(facts, notes))
    record = _statistics(ready, inference, facts, prediction, structures, (*notes, *prediction.notes), watch)
    return SegmentationResult(prediction.labels, facts.geometry, names, record)


def write(result: SegmentationResult, path: str) -> None:
    """Write labels to a file whose extension says the format; structures that were found get names and colors.

    Raises:
        OutputError: See ``image.write_labels``.
    """
    segments = [
        image.Segment(found.value, found.name, catalog.color_of(found.value)) for found in result.statistics.structures
    ]
    image.write_labels(path, result.labels, result.geometry, segments)


@dataclass(frozen=True)
class _VolumeFacts:
    """What the statistics say of a volume whose voxels are no longer held."""

    source: str
    geometry: image.Geometry


def _read(job: Job, watch: Stopwatch) -> image.Image:
    with watch.stage("read"):
        return image.read_image(job.images if len(job.images) > 1 else job.images[0], job.timepoint)


def _doubts(volume_image: image.Image, plans: ModelPlans) -> list[str]:
    doubt = image.check_hounsfield(volume_image) if plans.expects_hounsfield else None
    return [doubt] if doubt else []


def _why_nothing(facts: _VolumeFacts, notes: Sequence[str]) -> str:
    extent = " x ".join(
        f"{size * spacing:.0f}" for size, spacing in zip(facts.geometry.shape, facts.geometry.spacing_mm, strict=True)
    )
    reason = notes[-1] if notes else f"the volume ({extent} mm) may show none of the model's structures"
    return f"No structures were found. Possible reason: {reason}"


def _progress(on_event: Callable[[Event], None]) -> Callable[[int, int], None]:
    started = time.perf_counter()

    def report(done: int, total: int) -> None:
        elapsed = time.perf_counter() - started
        remaining = elapsed / done * (total - done) if done else None
        on_event({"event": "progress", "stage": "network", "done": done, "total": total, "remaining_s": remaining})

    return report


def _stop_if(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise Cancelled("The run was cancelled.")


@contextlib.contextmanager
def _warnings_as_events(on_event: Callable[[Event], None]) -> Iterator[list[str]]:
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


def _statistics(ready, inference, facts, prediction, structures, notes, watch) -> RunStatistics:
    model, original = ready.model, ready.original
    copies = len(model.folds) * (2 ** len(model.plans.mirror_axes) if inference.mirroring else 1)
    runs = prediction.patches * copies
    return RunStatistics(
        model=model.name,
        source_sha256=model.source_sha256,
        compression=describe(model),
        volume=facts.source,
        volume_shape=facts.geometry.shape,
        volume_spacing_mm=tuple(round(float(spacing), 4) for spacing in facts.geometry.spacing_mm),
        original_parameters=original.original_cost.parameters * len(model.folds),
        parameters=model.cost.parameters * len(model.folds),
        original_macs_per_patch=original.original_cost.macs,
        macs_per_patch=model.cost.macs,
        original_macs_per_volume=original.original_cost.macs * runs,
        macs_per_volume=model.cost.macs * runs,
        original_model_bytes=original.original_cost.parameters * len(model.folds) * 4,
        model_bytes=model.weight_bytes,
        patches=prediction.patches,
        voxels=math.prod(facts.geometry.shape),
        seconds={**watch.seconds, "total": watch.total()},
        peak_memory_bytes=hardware.peak_memory_bytes(),
        backend=ready.device.backend,
        device=ready.device.id,
        device_name=ready.device.name,
        device_reason=ready.reason,
        precision=ready.precision,
        threads=ready.threads,
        step_fraction=inference.step_fraction,
        mirroring=inference.mirroring,
        output_grid=inference.output_grid,
        versions=versions(),
        structures=structures,
        notes=tuple(dict.fromkeys(notes)),
    )


def _with_seconds(result: SegmentationResult, watch: Stopwatch) -> SegmentationResult:
    """The result with the stages that came after its statistics were made."""
    seconds = {**watch.seconds, "total": watch.total()}
    record = replace(result.statistics, seconds=seconds, peak_memory_bytes=hardware.peak_memory_bytes())
    return replace(result, statistics=record)
