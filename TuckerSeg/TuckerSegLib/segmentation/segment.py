"""An image and a model, or a task of several, to labels with names, volumes and statistics.

No files, no terminals, no Qt.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from .. import hardware, image, quality
from ..cache import Cache
from ..catalog import structures
from ..forked_process import require_own_threads
from ..models.model import SegmentationModel
from ..models.task import SegmentationTask, single_task
from ..monitor import Monitor
from ..postprocessing.merge import MergedLabels
from ..postprocessing.small_blobs import remove_small_blobs
from ..preprocessing.preprocess import PreparedVolume, preprocess
from ..preprocessing.roi import Crop
from ..preprocessing.roi_finder import RoiFinder
from ..preprocessing.shared_resampling import SharedResampling
from ..records.job import InferenceSpec
from ..records.statistics import RunStatistics, Structure
from .lent import Lent
from .predictor import predict
from .prepared_model import PreparedModel
from .prepared_task import PreparedPart, PreparedTask, prepare_task, prepared_single
from .run_statistics import PartRun, VolumeFacts, blobs_note, limitation_notes, nothing_found_note, statistics_of

Segmentable = SegmentationModel | PreparedModel | SegmentationTask | PreparedTask


@dataclass(frozen=True, eq=False)
class SegmentationResult:
    """Labels of an image, and the statistics of the run that gave them.

    Attributes:
        labels: (Z, Y, X) uint8 or uint16 on the input's grid, in the input's orientation.
        geometry: Of the input.
        label_names: Every label value of the model to its name, found or not.
        statistics: What the run cost, and which structures it found.
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
            OutputError: The file cannot be written, or its ending names no format that is known.
        """
        image.write_labels(path, self.labels, self.geometry, self.segments())

    def segments(self) -> list[image.Segment]:
        """What was found, with standard names, colors and codes."""
        return [
            image.Segment(
                structure.value,
                structures.title_of(structure.name),
                structures.color_of(structure.value, structure.name),
                structures.segment_tags(structure.name),
            )
            for structure in self.statistics.structures
        ]

    def placed(self, geometry: image.Geometry, box: image.Box | None) -> SegmentationResult:
        """This result, of which a box alone was computed, on the grid of the whole image.

        Args:
            geometry: Of the whole image.
            box: Slices (Z, Y, X) of the part that was computed; None: all of it, and the result is given as it is.
        """
        if box is None:
            return self
        labels = self.labels
        if labels.shape != geometry.shape:
            labels = np.zeros(geometry.shape, dtype=self.labels.dtype)
            labels[box] = self.labels
        computed = tuple(part.stop - part.start for part in box)
        voxels = math.prod(geometry.shape)
        record = replace(self.statistics, volume_shape=geometry.shape, voxels=voxels, computed_shape=computed)
        return replace(self, labels=labels, geometry=geometry, statistics=record)

    def timed(self, monitor: Monitor) -> SegmentationResult:
        """This result with the seconds of a monitor, stages after the segmentation included, and the memory so far."""
        record = replace(self.statistics, seconds=monitor.with_total(), peak_memory_bytes=hardware.peak_memory_bytes())
        return replace(self, statistics=record)


def segment(
    volume_image: image.Image | Lent[image.Image] | str | os.PathLike,
    model: Segmentable,
    inference: InferenceSpec | None = None,
    monitor: Monitor | None = None,
    cache: Cache | None = None,
    crop: Crop | None = None,
) -> SegmentationResult:
    """Segment an image with a model or a task of several networks.

    Args:
        volume_image: From ``read_image`` or ``image_from_array``, or a path. One that is lent is released before the
            patches of the last network: of a large CT, its memory is needed for them.
        model: From ``load_model``, ``compress`` or ``load_task``; or from ``prepare``, which saves preparing it for
            every image.
        inference: How; None takes the defaults. Its device, precision and threads were settled by ``prepare``.
        monitor: Hears of stages, progress and networks (``jobs.progress.ProgressTracker`` makes a bar of that), and
            is asked before every network, every patch and every plane of labels whether to stop. Its seconds and
            notes of earlier stages belong into the statistics. None: nobody listens.
        cache: Where compiled forms are kept; None takes the user's.
        crop: The part of the image that is computed; None: all of it.

    Raises:
        ImageError: The image cannot be read, or does not fit the model.
        BackendError, OutOfMemoryError: The device is not usable, or too small.
        Cancelled: The monitor said so.

    Example:
        >>> result = segment("CT.nii.gz", load_model("demo"))
        >>> print(as_table(result.statistics))
        >>> result.save("labels.seg.nrrd")
    """
    require_own_threads()
    monitor = monitor or Monitor()
    inference = inference or InferenceSpec()
    crop = crop or Crop(None)
    if not isinstance(volume_image, (image.Image, Lent)):
        with monitor.stage("read"):
            volume_image = image.read_image(volume_image, modality=_modalities(model))
    if not isinstance(volume_image, Lent):
        volume_image = Lent.holding(volume_image)
    network_image = volume_image
    if crop.cut and crop.box is not None:
        network_image = Lent.holding(image.cropped(volume_image.lend(), crop.box))
    with contextlib.closing(_prepared_task(model, inference, cache, monitor, network_image)) as task:
        settings = inference.with_step(task.step_fraction)
        return _SegmentationRun(task, settings, monitor, crop).over(volume_image, network_image)


def _modalities(model: Segmentable) -> tuple[str, ...]:
    """What images a model takes; of networks that are prepared one after the other, CT."""
    if isinstance(model, SegmentationTask):
        return model.parts[0].facts().plans.modalities
    if isinstance(model, PreparedModel):
        model = model.model
    return model.plans.modalities if isinstance(model, SegmentationModel) else ("CT",)


def _prepared_task(
    model: Segmentable,
    inference: InferenceSpec,
    cache: Cache | None,
    monitor: Monitor,
    volume: Lent[image.Image],
) -> PreparedTask:
    """A model or task, prepared or not, as a task whose networks are prepared one after the other."""
    if isinstance(model, PreparedTask):
        return model
    if isinstance(model, PreparedModel):
        return prepared_single(model, single_task(model.model))
    task = single_task(model) if isinstance(model, SegmentationModel) else model
    return prepare_task(task, inference, cache or Cache(), monitor, volume.lend)


class _SegmentationRun:
    """One image through the networks of a task."""

    def __init__(self, task: PreparedTask, inference: InferenceSpec, monitor: Monitor, crop: Crop):
        self._task, self._inference, self._monitor, self._crop = task, inference, monitor, crop
        self._resampling = SharedResampling()
        self._roi_finder = RoiFinder(inference, None if crop.cut else crop.box)
        self._merged = MergedLabels(max(task.label_names, default=0))
        self._part_runs: list[PartRun] = []
        self._image_check: quality.ImageCheck | None = None
        self._doubts: list[str] = []
        self._events: list[str] = []

    def over(self, whole: Lent[image.Image], volume: Lent[image.Image]) -> SegmentationResult:
        """Run all networks on an image.

        Args:
            whole: The image.
            volume: The part of it that the networks see. Both are released before the patches of the last network.
        """
        geometry = whole.lend().geometry
        facts = VolumeFacts(volume.lend().source, volume.lend().geometry)
        self._doubts.extend([*volume.lend().notes, *filter(None, [self._crop.note])])
        self._monitor.seconds.update(network=0.0, finish=0.0)  # nothing of an attempt that failed
        before = {"read": self._monitor.seconds.get("read", 0.0)}
        for number, part in enumerate(self._task):
            prepared = self._preprocessed(part, volume)
            if number + 1 == self._task.count:
                volume.release()
                whole.release()
                self._resampling = None
            self._run(part, prepared, facts, before)
            del prepared
            before = dict(self._monitor.seconds)
        return self._result(facts).placed(geometry, self._crop.box)

    def _preprocessed(self, part: PreparedPart, volume: Lent[image.Image]) -> PreparedVolume:
        """The image as a network sees it, with the region that is computed."""
        plans = part.prepared_model.model.plans
        with hardware.torch_threads(part.prepared_model.threads), self._monitor.stage("preprocess"):
            if self._image_check is None:
                self._image_check = quality.check_image(volume.lend(), plans.expects_hounsfield)
            convention = plans.resampling_convention
            prepared = preprocess(volume.lend(), plans, convention, self._resampling)
            roi, doubts = self._roi_finder.find(volume.lend(), prepared.data.shape[1:], plans, convention)
        self._doubts.extend([*doubts, *limitation_notes(prepared.data.shape[1:], plans, self._inference)])
        return replace(prepared, roi=roi)

    def _run(self, part: PreparedPart, volume: PreparedVolume, facts: VolumeFacts, before: dict[str, float]) -> None:
        """Run one network, and write its labels over those of the networks before it."""
        model, monitor = part.prepared_model.model, self._monitor
        monitor.begin("network")
        with hardware.torch_threads(part.prepared_model.threads):
            prediction = predict(volume, model, part.prepared_model.network, self._inference, monitor)
        monitor.add("network", prediction.network_s)
        monitor.add("finish", prediction.finish_s)
        structure_count = self._merged.add(prediction.labels, part.values)
        self._events.extend(prediction.notes)
        seconds = {stage: so_far - before.get(stage, 0.0) for stage, so_far in monitor.seconds.items()}
        run = PartRun.from_prediction(part, facts, self._inference, prediction, seconds, structure_count)
        self._part_runs.append(run)

    def _result(self, facts: VolumeFacts) -> SegmentationResult:
        """The merged labels, checked and cleaned, with the statistics of the run."""
        started = time.perf_counter()
        names, labels = dict(self._task.label_names), self._merged.labels
        wanted = names.values() if self._task.structures is None else self._task.structures
        volumes = image.segment_volumes_ml(labels, facts.geometry, sorted(names))
        report = quality.check_labels(labels, facts.geometry, names, volumes, self._image_check, wanted)
        self._monitor.add("finish", time.perf_counter() - started)
        if self._task.structures is not None:
            self._merged.keep(value for value, name in names.items() if name in wanted)
        self._remove_blobs(labels, facts, names)
        if self._task.structures is not None or self._inference.remove_blobs_mm3:
            volumes = image.segment_volumes_ml(labels, facts.geometry, sorted(names))
        found_structures = tuple(Structure(value, names[value], volume) for value, volume in volumes.items() if volume)
        if not found_structures:
            self._doubts.append(nothing_found_note(facts, [*report.warnings, *self._doubts]))
        notes = (*report.warnings, *self._monitor.notes, *self._doubts, *self._events)
        record = statistics_of(
            self._task.name, self._part_runs, self._inference, facts, found_structures, notes, self._monitor
        )
        return SegmentationResult(labels, facts.geometry, names, replace(record, quality=report))

    def _remove_blobs(self, labels: np.ndarray, facts: VolumeFacts, names: Mapping[int, str]) -> None:
        """Remove small blobs from the labels in place, where the settings ask for it."""
        largest_mm3 = self._inference.remove_blobs_mm3
        if not largest_mm3:
            return
        with self._monitor.stage("clean"):
            removed = remove_small_blobs(labels, largest_mm3 / (facts.geometry.voxel_volume_ml * 1000), self._monitor)
        self._events.append(blobs_note(removed, largest_mm3, facts.geometry, names))
