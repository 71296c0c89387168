"""A model compressed by all means together, by a share of its cost or by the agreement that it is to keep.

The allocator gives steps; each is carried out as if it had been asked for, pruning first, and Tucker's layers are
fitted anew behind what pruning has left. What comes of it is kept under the key of the question, so that the same
question is answered from the cache.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .. import compression, hardware
from ..cache import Cache, key_of
from ..compression.allocation import Spec, allocate_steps, material_spec
from ..compression.allocation.steps import Allocation, available_means
from ..compression.pruning.sliced_moments import sliced_calibration
from ..errors import SpecError
from ..image import Image
from ..layer_times.measured import known_layer_times, layer_times
from ..measurements import Measurements
from ..monitor import Monitor
from ..records.job import InferenceSpec
from ..records.layer_times import LayerTimes
from ..records.serialization import to_json
from .agreement import HeldBackAgreement
from .calibration import ModelCalibration, calibrate_model, volume_id
from .compress import compress
from .compression_step import calibration_of, is_due, known_calibration
from .material import prepare_fold, prepare_folds
from .model import SegmentationModel, Weights
from .model_file import Read, read_model_file, store_model, stored_model
from .planning import with_calibration
from .refit import refit_model

VERSION = 1  # raise when the same question has another answer
LEAST_SHARE = 0.1  # of the original's cost, that an agreement is looked for from
PLAIN, FITTED = 4, 2  # networks that are made to find an agreement; each halves the range of shares, in logarithms
FIT_GAINS = 0.6  # share of the cost that a fit to the volumes lets a network do with, at the same agreement
NO_GAIN = "Nothing saves {what} here without costing more than it is worth: the original network runs."
Volume = Callable[[], Image]


@dataclass(frozen=True)
class Question:
    """All that an answer of the allocator depends on.

    Attributes:
        model: That is compressed.
        spec: What is asked for, its calibration named.
        calibration: By which errors are told.
        times: Of layers on the device; None where time is not counted.
        volumes: That layers are fitted to and agreement is measured on.
    """

    model: SegmentationModel
    spec: Spec
    calibration: ModelCalibration
    times: LayerTimes | None
    volumes: tuple[Image, ...]

    @property
    def key(self) -> str:
        """Of the answer in the cache."""
        return key_of(
            allocation=VERSION,
            source=self.model.key,
            spec=to_json(self.spec),
            times=self.times and to_json(self.times),
            volumes=[volume_id(volume) for volume in self.volumes],
        )


def compress_by_allocation(
    model: SegmentationModel,
    spec: Spec,
    inference: InferenceSpec,
    calibrate: str,
    cache: Cache,
    monitor: Monitor,
    volume: Volume | None,
) -> SegmentationModel:
    """Compress a model by all means that a spec allows, layer by layer.

    Args:
        model: The original, with its weights.
        spec: How far, what is counted, and which means.
        inference: Device, precision and threads count, where time is counted.
        calibrate: See ``Job.calibrate``; ``none`` is refused.
        cache: Keeps the times of layers, calibrations, and compressed models.
        monitor: Times the stages, and is asked within them whether to stop; notes where nothing saves anything.
        volume: Gives the volume to calibrate on, to fit to and to measure agreement on; None where there is none.

    Returns:
        The compressed model; the model itself where nothing saves anything.

    Raises:
        SpecError: There is no calibration, and none may be made.
        ImageError: The volume does not fit the model.
        Cancelled: The monitor said so.
    """
    if not spec.shrinks:
        return model
    times = _times(spec, inference, cache, monitor)
    calibration = calibration_of(model, spec, calibrate, cache, monitor, volume)
    if calibration is None:
        raise SpecError(
            "All means together are weighed by a calibration, and there is none: give a volume to calibrate on."
        )
    volumes = (volume(),) if volume is not None else ()
    question = Question(model, with_calibration(spec, calibration.sha256), calibration, times, volumes)
    if answered := _cached(question, cache):
        return answered
    maker = _Maker(question, cache, monitor)
    answer = maker.at_share(spec.share) if spec.agreement is None else maker.keeping_agreement(spec.agreement)
    if answer is model:
        warnings.warn(NO_GAIN.format(what=spec.budget), stacklevel=2)
        return model
    return _kept(question, answer, cache)


def known_answer(
    facts: SegmentationModel,
    spec: Spec,
    inference: InferenceSpec,
    calibrate: str,
    cache: Cache,
    volume: Volume | None,
    read: Read = read_model_file,
) -> SegmentationModel | None:
    """What :func:`compress_by_allocation` gives, where it is in the cache; nothing is measured, calibrated or computed.

    Args:
        facts: The model, with its weights or without.
        read: Reads the whole model, or its facts alone.
    """
    times = _known_times(spec, inference, cache)
    if spec.budget == "time" and times is None:
        return None
    calibration = known_calibration(facts, spec, calibrate, cache)
    if calibration is None or (spec.calibration is None and is_due(facts, calibration, calibrate, volume)):
        return None
    volumes = (volume(),) if volume is not None else ()
    question = Question(facts, with_calibration(spec, calibration.sha256), calibration, times, volumes)
    return _cached(question, cache, read)


def allocation_of(question: Question, cache: Cache, monitor: Monitor) -> Allocation:
    """The steps that a question's share of the cost is best spent on.

    Raises:
        SpecError: There are no means.
        Cancelled: The monitor said so.
    """
    model, spec = question.model, question.spec
    means = available_means(spec, question.times)
    materials = {}
    for number, name in enumerate(means):
        asked_by = material_spec(name, question.calibration.sha256)
        share = monitor.share(number, len(means))
        materials[name] = prepare_folds(model, asked_by, name, cache, question.calibration, share)
    plans = model.plans
    return allocate_steps(model.structure(), spec, plans.patch_shape, plans.input_channels, materials, question.times)


class _Maker:
    """Makes the compressed models of one question."""

    def __init__(self, question: Question, cache: Cache, monitor: Monitor):
        self._question, self._cache, self._monitor = question, cache, monitor

    def at_share(self, share: float, refit: bool = True) -> SegmentationModel:
        """The model that costs this share of the original; the original where nothing saves anything."""
        question = replace(self._question, spec=self._question.spec.with_strength(share))
        with self._monitor.stage("compress") as stage:
            allocation = allocation_of(question, self._cache, stage)
        return self._carried_out(allocation.steps, refit)

    def keeping_agreement(self, target: float) -> SegmentationModel:
        """The cheapest model that was found to agree so well; the original where none does.

        The fit to the volumes is what takes long: the shares at which a model is good without it are found first, and
        then models with it are looked at below.
        """
        model = self._question.model
        held_back = HeldBackAgreement(model, self._question.volumes, self._monitor)

        def is_good(smaller: SegmentationModel) -> bool:
            return smaller is not model and held_back.of(smaller) >= target

        rough = least_share(lambda share: is_good(self.at_share(share, refit=False)), (LEAST_SHARE, 1.0), PLAIN)
        fitted: dict[float, SegmentationModel] = {}

        def is_good_fitted(share: float) -> bool:
            fitted[share] = self.at_share(share)
            return is_good(fitted[share])

        lowest = max(LEAST_SHARE, rough * FIT_GAINS)
        share = least_share(is_good_fitted, (lowest, rough), FITTED)
        if share not in fitted and share < 1 and is_good_fitted(share):
            return fitted[share]
        return fitted.get(share, model)

    def _carried_out(self, steps: Sequence[tuple[str, Any]], refit: bool) -> SegmentationModel:
        """The model after all steps, Tucker's layers fitted behind what the steps before have left."""
        model, calibration, volumes = self._question.model, self._question.calibration, self._question.volumes
        for method, spec in steps:
            before = model
            with self._monitor.stage("compress") as stage:
                model = compress(model, spec, method, self._cache, stage, calibration)
            if model is before:
                continue
            if refit and hasattr(compression.method(method), "refit_network"):
                with self._monitor.stage("refit") as stage:
                    model = refit_model(model, before, volumes, calibration, self._cache, monitor=stage)
            if (method, spec) != steps[-1]:
                calibration = self._calibration_after(before, model, method, spec, calibration)
        return model

    def _calibration_after(
        self, before: SegmentationModel, model: SegmentationModel, method: str, spec: Any, calibration: ModelCalibration
    ) -> ModelCalibration:
        """The calibration of a model after a step: that of the kept channels, else a new one."""
        if method == "prune":
            spec = with_calibration(spec, calibration.sha256)
            folds = {}
            for fold, moments in calibration.folds.items():
                material = prepare_fold(before, fold, spec, method, self._cache, calibration)
                kept = {path: list(material.evidence.kept(path, count)) for path, count in spec.channels.items()}
                folds[fold] = sliced_calibration(moments, before.structure(), kept).rounded()
            return replace(calibration, folds=folds)
        with self._monitor.stage("calibrate") as stage:
            volume = self._question.volumes[0] if self._question.volumes else None
            return calibrate_model(model, volume, monitor=stage)


def least_share(is_good: Callable[[float], bool], between: tuple[float, float], looks: int) -> float:
    """The least share of the cost that is good, by bisection of the shares' logarithm.

    Args:
        is_good: Whether a share will do; shares above one that does are taken to do, too.
        between: A share that is too small, and one that is known to do.
        looks: How often to ask.
    """
    low, high = between
    for _ in range(looks):
        share = math.sqrt(low * high)
        low, high = (low, share) if is_good(share) else (share, high)
    return high


def _times(spec: Spec, inference: InferenceSpec, cache: Cache, monitor: Monitor) -> LayerTimes | None:
    """Times of layers where a run will be, measured where they are not known."""
    if spec.budget != "time":
        return None
    with monitor.stage("measure") as stage:
        return layer_times(*_place(inference), Measurements(cache), stage)


def _known_times(spec: Spec, inference: InferenceSpec, cache: Cache) -> LayerTimes | None:
    return known_layer_times(*_place(inference), Measurements(cache)) if spec.budget == "time" else None


def _place(inference: InferenceSpec) -> tuple[hardware.Device, str, int]:
    """Device, precision and threads of a run."""
    device, _ = hardware.choose(inference.device, hardware.devices())
    precision, _ = hardware.choose_precision(inference.precision, device)
    return device, precision, inference.threads or hardware.default_threads()


def _cached(question: Question, cache: Cache, read: Read = read_model_file) -> SegmentationModel | None:
    """The answer that the cache has; None where it has none."""
    original = question.model

    def belongs(stored: SegmentationModel) -> bool:
        same_source = (stored.source_sha256, stored.folds) == (original.source_sha256, original.folds)
        return same_source and stored.recipes[: len(original.recipes)] == original.recipes and bool(stored.recipes)

    stored = stored_model(cache, question.key, belongs, read)
    return stored and _identified(question, replace(stored, name=original.name, plans=original.plans))


def _kept(question: Question, answer: SegmentationModel, cache: Cache) -> SegmentationModel:
    """An answer under its question's key, with the identity that it will have when it is read from there."""
    answer = _identified(question, answer)
    store_model(cache, question.key, answer)
    return answer


def _identified(question: Question, answer: SegmentationModel) -> SegmentationModel:
    return replace(answer, weights=Weights(answer.weights, f"allocated {question.key}"))
