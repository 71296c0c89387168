"""An image and a model, or a task of several, to labels with names, volumes and statistics.

No files, no terminals, no Qt.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from .. import hardware, image, quality
from ..cache import Cache
from ..catalog.entries import MASK
from ..errors import SpecError
from ..forked_process import require_own_threads
from ..models.model import SegmentationModel
from ..models.task import INPUT, VOTES, SegmentationTask, single_task
from ..monitor import Monitor
from ..nnunet.plans import ModelPlans
from ..postprocessing.cleaning import clean
from ..postprocessing.merge import MergedLabels
from ..postprocessing.probabilities import NetworkProbabilities, ProbabilityMean
from ..postprocessing.small_blobs import remove_small_blobs
from ..preprocessing.preprocess import PreparedVolume, preprocess
from ..preprocessing.roi import Crop
from ..preprocessing.roi_finder import RoiFinder
from ..preprocessing.shared_resampling import SharedResampling
from ..records.job import InferenceSpec
from ..records.statistics import Structure
from .lent import Lent
from .predictor import decision_of, predict
from .prepared_model import PreparedModel
from .prepared_task import PreparedPart, PreparedTask, prepare_task, prepared_single
from .result import SegmentationResult
from .run_statistics import PartRun, VolumeFacts, blobs_note, limitation_notes, nothing_found_note, statistics_of

Segmentable = SegmentationModel | PreparedModel | SegmentationTask | PreparedTask


def segment(
    volume_image: image.Image | Lent[image.Image] | str | os.PathLike,
    model: Segmentable,
    inference: InferenceSpec | None = None,
    monitor: Monitor | None = None,
    cache: Cache | None = None,
    crop: Crop | None = None,
    keep_probabilities: bool = False,
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
        keep_probabilities: Give the probabilities of all classes, too, which take a float per class and voxel.

    Raises:
        SpecError: Probabilities are asked for of networks that each know other structures, or of a part of the image.
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
        if keep_probabilities and (crop.box is not None or task.label_makers > 1):
            raise SpecError(
                f"{task.name}: probabilities are kept of one model, or of an ensemble, on the whole image; found "
                + ("a part of the image." if crop.box is not None else f"{task.count} networks with own structures.")
            )
        run = _SegmentationRun(task, settings, monitor, crop, keep_probabilities)
        return run.over(volume_image, network_image)


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

    def __init__(
        self, task: PreparedTask, inference: InferenceSpec, monitor: Monitor, crop: Crop, keep_probabilities: bool
    ):
        self._task, self._inference, self._monitor, self._crop = task, inference, monitor, crop
        self._keep_probabilities = keep_probabilities
        self._previous: np.ndarray | None = None  # labels of the network before, where this one takes them
        self._mask: np.ndarray | None = None  # where the cleaning leaves labels
        self._mean: ProbabilityMean | None = None
        self._plans: ModelPlans | None = None
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
            prepared = preprocess(volume.lend(), plans, convention, self._resampling, self._previous)
            roi, doubts = self._roi_finder.find(volume.lend(), prepared.data.shape[1:], plans, convention)
        self._doubts.extend([*doubts, *limitation_notes(prepared.data.shape[1:], plans, self._inference)])
        return replace(prepared, roi=roi)

    def _run(self, part: PreparedPart, volume: PreparedVolume, facts: VolumeFacts, before: dict[str, float]) -> None:
        """Run one network, and write its labels over those of the networks before it."""
        model, monitor = part.prepared_model.model, self._monitor
        monitor.begin("network")
        with hardware.torch_threads(part.prepared_model.threads):
            votes = self._votes(part, facts)
            prediction = predict(volume, model, part.prepared_model.network, self._inference, monitor, votes)
        monitor.add("network", prediction.network_s)
        monitor.add("finish", prediction.finish_s)
        self._previous = prediction.labels if part.role == INPUT else None
        if part.role == MASK:
            self._mask = np.isin(prediction.labels, list(part.values))
        if part.role in (INPUT, MASK):
            structure_count = MergedLabels(max(self._task.label_names)).add(prediction.labels.copy(), part.values)
        elif votes is None:
            structure_count = self._merged.add(prediction.labels, part.values)
        else:
            votes.end()
            structure_count = MergedLabels(max(self._task.label_names)).add(prediction.labels, None)
        self._events.extend(prediction.notes)
        seconds = {stage: so_far - before.get(stage, 0.0) for stage, so_far in monitor.seconds.items()}
        run = PartRun.from_prediction(part, facts, self._inference, prediction, seconds, structure_count)
        self._part_runs.append(run)

    def _votes(self, part: PreparedPart, facts: VolumeFacts) -> NetworkProbabilities | None:
        """What takes a network's probabilities, where they decide or are kept."""
        if part.role in (INPUT, MASK) or (part.role != VOTES and not self._keep_probabilities):
            return None
        if self._mean is None:
            self._plans = part.prepared_model.model.plans
            self._mean = ProbabilityMean(decision_of(self._plans), facts.geometry.shape)
        return self._mean.begin_network()

    def _result(self, facts: VolumeFacts) -> SegmentationResult:
        """The merged labels, checked and cleaned, with the statistics of the run."""
        started = time.perf_counter()
        if self._mean is not None:
            self._merged.add(self._mean.finish(None if self._crop.cut else self._crop.box), None)
        names, labels = dict(self._task.label_names), self._merged.labels
        if self._task.cleaning is not None:
            self._events.append(clean(labels, self._task.cleaning, names, facts.geometry, self._monitor, self._mask))
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
        result = SegmentationResult(labels, facts.geometry, names, replace(record, quality=report))
        if not self._keep_probabilities:
            return result
        return replace(result, probabilities=self._mean.volume, plans=self._plans)

    def _remove_blobs(self, labels: np.ndarray, facts: VolumeFacts, names: Mapping[int, str]) -> None:
        """Remove small blobs from the labels in place, where the settings ask for it."""
        largest_mm3 = self._inference.remove_blobs_mm3
        if not largest_mm3:
            return
        with self._monitor.stage("clean"):
            removed = remove_small_blobs(labels, largest_mm3 / (facts.geometry.voxel_volume_ml * 1000), self._monitor)
        self._events.append(blobs_note(removed, largest_mm3, facts.geometry, names))
