"""What each request of the protocol means. Knows the engine; knows nothing of pipes, threads and lines."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from .. import comparison, hardware, image
from ..cache import Cache
from ..errors import OutOfMemoryError
from ..estimate import Estimator, measure_patch, setting_of
from ..job import InferenceSpec, Job
from ..measurements import Measurements
from ..preview import preview
from ..progress import ProgressTracker
from ..protocol import BoxFile, ComparisonRow, StructureDice, VolumeFile
from ..records import from_json, to_json
from ..run import warnings_as_events
from ..segmentation import SegmentationResult, Stopwatch, segment
from ..warm_models import WarmModels
from .context import Context

Request = dict[str, Any]
Fields = dict[str, Any]
MOST_ESTIMATORS = 4


class Handlers:
    """One method per kind of request; returns the fields of its ``result``.

    Args:
        cache: None takes the user's.
    """

    def __init__(self, cache: Cache | None = None):
        self._cache = cache or Cache()
        self._models = WarmModels(self._cache)
        self._measurements = Measurements(self._cache)
        self._estimators: dict[str, Estimator] = {}
        self._volume: tuple[str, image.Image] | None = None

    def describe_model(self, request: Request, context: Context) -> Fields:
        """Facts of a model for a panel."""
        model = self._models.original(request["model"], _folds(request))
        plans, folds = model.plans, len(model.folds)
        return {
            "name": model.name,
            "labels": [{"value": label.value, "name": label.name} for label in plans.labels],
            "patch_shape": list(plans.patch_shape),
            "spacing_mm": list(plans.spacing_mm),
            "input_channels": plans.input_channels,
            "expects_hounsfield": plans.expects_hounsfield,
            "mirroring_allowed": bool(plans.mirror_axes),
            "parameters": model.original_cost.parameters * folds,
            "macs_per_patch": model.original_cost.macs * folds,
            "model_bytes": model.weight_bytes,
        }

    def devices(self, request: Request, context: Context) -> Fields:
        """Every device, usable or not, and which one ``auto`` takes."""
        devices = hardware.devices()
        chosen, reason = hardware.choose("auto", devices)
        precision, _ = hardware.choose_precision("auto", chosen)
        return {
            "devices": [to_json(device) for device in devices],
            "automatic": {"id": chosen.id, "reason": reason, "precision": precision},
        }

    def estimate(self, request: Request, context: Context) -> Fields:
        """What a run would cost; with ``measure``, one patch is run where this computer's speed is not known."""
        model = self._models.original(request["model"], _folds(request))
        inference = from_json(InferenceSpec, request["inference"])
        geometry = image.Geometry(tuple(request["shape"]), request["affine"])
        estimator = self._estimator(model)
        arguments = (geometry, request["method"], request["compression"], inference)
        estimate = estimator.estimate(*arguments)
        if request.get("measure") and (estimate.seconds is None or estimate.original_seconds is None):
            for method, settings in ((request["method"], request["compression"]), (None, {})):
                job = Job((), None, request["model"], method, settings, inference, _folds(request))
                ready = self._models.ready(job, Stopwatch(), context.stop_if_cancelled)
                context.stop_if_cancelled()
                measure_patch(ready, inference, self._measurements)
            estimate = estimator.estimate(*arguments)
        return {"estimate": to_json(estimate)}

    def segment(self, request: Request, context: Context) -> Fields:
        """A whole volume."""
        job = from_json(Job, request["job"])
        volume = self._read(request)
        result = self._run(job, volume, context)
        if request.get("structures") is not None:
            result = result.keeping(request["structures"])
        return {
            "statistics": to_json(result.statistics),
            "labels": _plain(write_box(result.labels, Path(request["labels"]))),
            "label_names": result.label_names,
        }

    def preview(self, request: Request, context: Context) -> Fields:
        """The one patch around a point."""
        job = from_json(Job, request["job"])
        volume = self._read(request)
        watch = Stopwatch()
        ready = self._models.ready(job, watch, context.stop_if_cancelled)
        context.stop_if_cancelled()
        result, box = preview(volume, ready, job.inference, request["point"], context.cancelled)
        lower = tuple(part.start for part in box)
        found = {structure.value: structure.name for structure in result.statistics.structures}
        return {
            "labels": _plain(write_box(result.labels, Path(request["labels"]), lower)),
            "label_names": found,
            "seconds": watch.with_total()["total"],
        }

    def compare(self, request: Request, context: Context) -> Fields:
        """The original and several ranks on a volume, or on a box of it."""
        job, volume = from_json(Job, request["job"]), self._read(request)
        whole, lower = volume.geometry, (0, 0, 0)
        if request.get("box_mm"):
            box = image.box_around(whole, request["center"], (request["box_mm"],) * 3)
            volume = image.cropped(volume, box)
            lower = tuple(part.start for part in box)
        folder, ranks = Path(request["folder"]), request["rank_ratios"]
        done = 0

        def run(rank_ratio: float) -> SegmentationResult:
            return self._run(comparison.at_rank(job, rank_ratio), volume, context.part(done, len(ranks) + 1))

        for row in comparison.compare(ranks, run):
            if row.agreement is not None and not request.get("box_mm"):
                model = self._models.ready(comparison.at_rank(job, row.rank_ratio), Stopwatch()).model
                self._measurements.add_agreement(model.key, volume.source, row.agreement)
            record = ComparisonRow(
                row.rank_ratio,
                row.agreement,
                tuple(StructureDice(name, dice) for name, dice in sorted(row.dice.items(), key=lambda item: item[1])),
                write_box(row.result.labels, folder / f"labels-{done}.npy", lower),
                write_box(row.differs.astype(np.uint8), folder / f"differences-{done}.npy", lower),
                row.result.statistics,
            )
            context.on_event({"event": "row", "row": to_json(record)})
            done += 1
        return {}

    def close(self) -> None:
        """Give all devices' memory back."""
        self._models.close()

    def _run(self, job: Job, volume: image.Image, context: Context) -> SegmentationResult:
        """Segment, telling how far the whole run is, and remember what it took."""
        tracker = ProgressTracker(context.on_event)
        watch = Stopwatch(tracker)
        with warnings_as_events(context.on_event) as warned:
            ready = self._models.ready(job, watch, context.stop_if_cancelled)
            voxels = math.prod(volume.geometry.shape)
            tracker.expect_finish((self._measurements.voxel_seconds(ready.device.id) or 0.0) * voxels / 1e6)
            arguments = (volume, ready, job.inference, watch, tracker, context.cancelled, warned)
            try:
                result = segment(*arguments)
            except OutOfMemoryError:
                if not self._models.close_all_but(ready):
                    raise
                result = segment(*arguments)  # what was kept warm may have been what filled the device
        self._remember(result, ready, job.inference)
        return result

    def _remember(self, result: SegmentationResult, ready: Any, inference: InferenceSpec) -> None:
        statistics = result.statistics
        passes = max(1, statistics.macs_per_volume // max(statistics.macs_per_patch, 1))
        seconds = statistics.seconds
        setting = setting_of(ready.model, ready.device, ready.precision, inference)
        self._measurements.add_patch_seconds(setting, statistics.macs_per_patch, seconds["network"] / passes)
        beside = seconds.get("preprocess", 0.0) + seconds.get("finish", 0.0)
        self._measurements.add_voxel_seconds(ready.device.id, beside / statistics.voxels * 1e6)

    def _estimator(self, model: Any) -> Estimator:
        if model.key not in self._estimators:
            if len(self._estimators) >= MOST_ESTIMATORS:
                self._estimators.pop(next(iter(self._estimators)))
            self._estimators[model.key] = Estimator(model, self._measurements)
        return self._estimators[model.key]

    def _read(self, request: Request) -> image.Image:
        """The request's volume; the last one stays in memory."""
        file = from_json(VolumeFile, request["volume"])
        if self._volume is None or self._volume[0] != file.key:
            self._volume = None  # two large volumes at once may be too much
            array = np.load(file.path, mmap_mode="r")
            self._volume = (file.key, image.image_from_array(array, affine=np.asarray(file.affine), source=file.name))
        return self._volume[1]


def write_box(labels: np.ndarray, path: Path, lower: tuple[int, int, int] = (0, 0, 0)) -> BoxFile | None:
    """Write the part of a label map that is not background.

    Args:
        labels: (Z, Y, X).
        lower: Where the label map's first voxel lies in the volume.

    Returns:
        None where there is nothing.
    """
    box = image.filled_box(labels)
    if box is None:
        return None
    np.save(path, labels[box])
    first = tuple(part.start + start for part, start in zip(box, lower))
    last = tuple(part.stop + start for part, start in zip(box, lower))
    return BoxFile(str(path), first, last)


def _plain(box: BoxFile | None) -> Fields | None:
    return to_json(box) if box else None


def _folds(request: Request) -> tuple[str, ...] | None:
    return tuple(request["folds"]) if request.get("folds") else None
