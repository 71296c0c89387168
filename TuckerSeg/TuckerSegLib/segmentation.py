"""An image and a model to labels with names, volumes and statistics. No files, no terminals, no Qt."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import catalog, hardware, image, structures
from .cache import Cache
from .job import InferenceSpec
from .model import SegmentationModel
from .nnunet.plans import ModelPlans
from .predictor import Prediction, Progress, predict
from .preprocessing import preprocess
from .ready_model import ReadyModel, describe, prepare
from .statistics import RunStatistics, Structure, versions

Event = dict[str, Any]
Listener = Callable[[Event], None]


def _deaf(event: Event) -> None:
    """The listener of a caller who wants no events."""


class Stopwatch:
    """Seconds per stage; a stage may be entered again. Tells a listener of each stage's start."""

    def __init__(self, on_event: Listener = _deaf):
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

    def with_total(self) -> dict[str, float]:
        """Seconds per stage, and ``total`` since the stopwatch was made."""
        return {**self.seconds, "total": time.perf_counter() - self._started}


@dataclass(frozen=True, eq=False)
class SegmentationResult:
    """What a run found.

    Attributes:
        labels: (Z, Y, X) uint8 or uint16 on the input's grid, in the input's orientation.
        geometry: Of the input.
        label_names: Every label value of the model to its name, found or not.
        statistics: What it cost.
    """

    labels: np.ndarray
    geometry: image.Geometry
    label_names: dict[int, str]
    statistics: RunStatistics

    def save(self, path: str) -> None:
        """Write the labels as NIfTI, NRRD, MHA, or ``.seg.nrrd`` for 3D Slicer.

        A ``.seg.nrrd`` holds the standard names, colors and codes of what was found; the model's own names stay in
        its tags.

        Raises:
            OutputError: See ``image.write_labels``.
        """
        segments = [
            image.Segment(
                found.value,
                structures.title_of(found.name),
                structures.color_of(found.value, found.name),
                structures.segment_tags(found.name),
            )
            for found in self.statistics.structures
        ]
        image.write_labels(path, self.labels, self.geometry, segments)

    def keeping(self, names: Sequence[str]) -> SegmentationResult:
        """The same result with these structures only; all others become background."""
        wanted = {value for value, name in self.label_names.items() if name in set(names)}
        table = np.array([value if value in wanted else 0 for value in range(max(self.label_names) + 1)])
        kept = tuple(found for found in self.statistics.structures if found.value in wanted)
        statistics = replace(self.statistics, structures=kept)
        return replace(self, labels=table.astype(self.labels.dtype)[self.labels], statistics=statistics)

    def timed(self, watch: Stopwatch) -> SegmentationResult:
        """The same result, its statistics brought up to date with stages that came after them."""
        record = replace(self.statistics, seconds=watch.with_total(), peak_memory_bytes=hardware.peak_memory_bytes())
        return replace(self, statistics=record)


def segment(
    volume_image: image.Image | str | os.PathLike,
    model: SegmentationModel | ReadyModel,
    inference: InferenceSpec | None = None,
    watch: Stopwatch | None = None,
    on_event: Listener = _deaf,
    cancelled: Callable[[], bool] = lambda: False,
    notes: Sequence[str] = (),
    cache: Cache | None = None,
) -> SegmentationResult:
    """Segment an image.

    Args:
        volume_image: From ``read_image`` or ``image_from_array``, or a path.
        model: From ``load_model`` or ``compress``; or from ``prepare``, which saves preparing it for every image.
        inference: How; None takes the defaults. Its device, precision and threads were settled by ``prepare``.
        watch: Times the stages; None makes one.
        on_event: Receives ``stage`` and ``progress`` events; ``progress.ProgressTracker`` makes a bar of them.
        cancelled: Asked before every patch and every plane of labels.
        notes: Remarks from earlier stages that belong into the statistics.
        cache: Where compiled forms are kept; None takes the user's.

    Raises:
        ImageError: The image cannot be read, or does not fit the model.
        BackendError, OutOfMemoryError: The device is not usable, or too small.
        Cancelled: ``cancelled`` said so.
    """
    watch = watch or Stopwatch(on_event)
    inference = inference or InferenceSpec()
    if not isinstance(volume_image, image.Image):
        with watch.stage("read"):
            volume_image = image.read_image(volume_image)
    with contextlib.ExitStack() as opened:
        if isinstance(model, SegmentationModel):
            with watch.stage("prepare"):
                model = opened.enter_context(contextlib.closing(prepare(model, inference, cache)))
        plans = model.model.plans
        doubts = [*volume_image.notes, *_doubts(volume_image, plans)]
        opened.enter_context(hardware.torch_threads(model.threads))
        with watch.stage("preprocess"):
            volume = preprocess(volume_image, plans, catalog.resampling_convention(plans.dataset_name))
        doubts += _limits(volume.data.shape[1:], plans, inference)
        facts = _VolumeFacts(volume_image.source, volume_image.geometry)
        del volume_image  # a large CT: its memory is needed for the patches
        on_event({"event": "stage", "stage": "network"})
        prediction = predict(volume, model.model, model.network, inference, _progress(on_event), cancelled)
    watch.seconds["network"] = prediction.network_s
    watch.seconds["finish"] = prediction.finish_s
    names = {label.value: label.name for label in plans.labels}
    volumes = image.segment_volumes_ml(prediction.labels, facts.geometry, sorted(names))
    structures = tuple(Structure(value, names[value], volume) for value, volume in volumes.items() if volume)
    if not structures:
        doubts.append(_why_nothing(facts, doubts))
    record = _statistics(model, inference, facts, prediction, structures, (*notes, *doubts, *prediction.notes), watch)
    return SegmentationResult(prediction.labels, facts.geometry, names, record)


@dataclass(frozen=True)
class _VolumeFacts:
    """What the statistics say of a volume whose voxels are no longer held."""

    source: str
    geometry: image.Geometry


def _doubts(volume_image: image.Image, plans: ModelPlans) -> list[str]:
    doubt = image.check_hounsfield(volume_image) if plans.expects_hounsfield else None
    return [doubt] if doubt else []


def _limits(shape: Sequence[int], plans: ModelPlans, inference: InferenceSpec) -> list[str]:
    """What of the request the model cannot do, or does badly."""
    notes = []
    if inference.mirroring and not plans.mirror_axes:
        notes.append("The model allows no mirroring, so none was done.")
    if any(size < patch / 2 for size, patch in zip(shape, plans.patch_shape)):
        notes.append(
            f"On the model's grid the image has {tuple(shape)} voxels (Z Y X), less than half the network's patch "
            f"{plans.patch_shape} along an axis, and was padded as nnU-Net does; such small fields of view may be "
            "segmented badly."
        )
    return notes


def _why_nothing(facts: _VolumeFacts, doubts: Sequence[str]) -> str:
    extent = " x ".join(
        f"{size * spacing:.0f}" for size, spacing in zip(facts.geometry.shape, facts.geometry.spacing_mm)
    )
    reason = doubts[-1] if doubts else f"the volume of {extent} mm may show none of the model's structures."
    return f"No structures were found. Possible reason: {reason}"


def _progress(on_event: Listener) -> Progress:
    return lambda stage, done, total: on_event({"event": "progress", "stage": stage, "done": done, "total": total})


def _statistics(
    ready: ReadyModel,
    inference: InferenceSpec,
    facts: _VolumeFacts,
    prediction: Prediction,
    structures: tuple[Structure, ...],
    notes: Sequence[str],
    watch: Stopwatch,
) -> RunStatistics:
    model = ready.model
    folds = len(model.folds)
    runs = prediction.patches * folds * (2 ** len(model.plans.mirror_axes) if inference.mirroring else 1)
    return RunStatistics(
        model=model.name,
        source_sha256=model.source_sha256,
        compression=describe(model),
        volume=facts.source,
        volume_shape=facts.geometry.shape,
        volume_spacing_mm=tuple(round(float(spacing), 4) for spacing in facts.geometry.spacing_mm),
        original_parameters=model.original_cost.parameters * folds,
        parameters=model.cost.parameters * folds,
        original_macs_per_patch=model.original_cost.macs * folds,
        macs_per_patch=model.cost.macs * folds,
        original_macs_per_volume=model.original_cost.macs * runs,
        macs_per_volume=model.cost.macs * runs,
        original_model_bytes=model.original_cost.parameters * folds * 4,
        model_bytes=model.cost.parameters * folds * 4,
        patches=prediction.patches,
        voxels=math.prod(facts.geometry.shape),
        seconds=watch.with_total(),
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
