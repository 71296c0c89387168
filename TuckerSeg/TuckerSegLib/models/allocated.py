"""A model compressed by all means together, by a share of its cost or by the agreement that it is to keep.

The allocator gives steps; each is carried out as if it had been asked for, pruning first, and Tucker's layers are
fitted anew behind what pruning has left. What comes of it is kept under the key of the question, so that the same
question is answered from the cache.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import nn

from .. import hardware
from ..cache import Cache
from ..compression.allocation import Spec
from ..compression.cost import count
from ..compression.layers import convolutions
from ..errors import SpecError
from ..image import Image
from ..layer_times.measured import known_layer_times, layer_times
from ..measurements import Measurements
from ..monitor import Monitor
from ..records.job import InferenceSpec
from ..records.layer_times import LayerTimes
from .allocation_making import ModelMaker
from .allocation_question import Question, asked_in_words
from .calibration import ModelCalibration
from .calibration_facts import stored_calibration_facts
from .compression_step import calibration_of, is_due, known_calibration
from .model import SegmentationModel, Weights, require_original
from .model_file import Read, read_model_file, store_model, stored_model
from .patch_timing import Place
from .planning import with_calibration

WORTH_A_WORD = 0.05  # of the operations
LINEAR = (
    "All means together weigh convolutions: {share:.0%} of this network's operations are in linear layers, which stay "
    "as they are and are not part of what is shared out. Tucker compression alone makes linear layers smaller, too."
)
NO_GAIN = "Nothing saves {what} here without costing more than it is worth: the original network runs."
Volume = Callable[[], Image]


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
    calibration = calibration_of(model, spec, calibrate, cache, monitor, volume)
    return allocated(model, spec, inference, calibration, (volume(),) if volume is not None else (), cache, monitor)


def allocated(
    model: SegmentationModel,
    spec: Spec,
    inference: InferenceSpec,
    calibration: ModelCalibration | None,
    volumes: Sequence[Image],
    cache: Cache,
    monitor: Monitor,
) -> SegmentationModel:
    """Compress a model by all means, by a calibration that is at hand.

    Args:
        model, spec, inference, cache, monitor: As for :func:`compress_by_allocation`.
        calibration: Of the model.
        volumes: To fit to and to measure agreement on; for a model of CTs the built-in one is added.

    Raises:
        SpecError, ImageError, Cancelled: As for :func:`compress_by_allocation`.
    """
    if calibration is None:
        raise SpecError(
            "All means together are weighed by a calibration, and there is none: give a volume to calibrate on."
        )
    if not spec.shrinks:
        return model
    require_original(model)
    if (share := linear_share(model)) >= WORTH_A_WORD:
        warnings.warn(LINEAR.format(share=share), stacklevel=2)
    times, volumes = _times(spec, inference, cache, monitor), tuple(volumes)
    place = _place(inference) if spec.budget == "time" else None
    question = Question(model, with_calibration(spec, calibration.sha256), calibration, times, volumes, place)
    if answered := _cached(question, cache):
        return answered
    maker = ModelMaker(question, cache, monitor)
    answer = maker.at_share(spec.share) if spec.agreement is None else maker.keeping_agreement(spec.agreement)
    if answer is model:
        warnings.warn(NO_GAIN.format(what=spec.budget), stacklevel=2)
        return model
    Measurements(cache).add_answer_macs(asked_in_words(model, spec), answer.cost.macs)
    if maker.choice is not None:
        Measurements(cache).add_answer_shares(_asked_at(model, spec, place), *maker.choice.shares)
    return _kept(question, answer, cache)


def known_shares(
    model: SegmentationModel, spec: Spec, inference: InferenceSpec, cache: Cache
) -> tuple[float, float] | None:
    """Share of the original's time of the last network that was chosen for what is asked, predicted and measured.

    Args:
        model: The original, with its weights or without.
        spec: What is asked; its calibration does not count.
        inference: Device, precision and threads count.
        cache: Of the measurements.

    Returns:
        None where time is not counted, or nothing was chosen yet.
    """
    if spec.budget != "time":
        return None
    return Measurements(cache).answer_shares(_asked_at(model, spec, _place(inference)))


def _asked_at(model: SegmentationModel, spec: Spec, place: Place) -> str:
    return f"{asked_in_words(model, spec)} {place.words}"


def linear_share(model: SegmentationModel) -> float:
    """Share of a model's multiply-accumulates that is not in convolutions but, say, in a transformer's blocks."""
    structure = model.structure()
    if not any(isinstance(module, nn.Linear) for module in structure.modules()):
        return 0.0
    counted = count(structure, model.plans.patch_shape, model.plans.input_channels)
    inside = sum(counted.layers[path].macs for path in convolutions(structure) if path in counted.layers)
    return 1 - inside / counted.total.macs


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
    calibration = known_calibration(facts, spec, calibrate, cache, stored_calibration_facts)
    if calibration is None or (spec.calibration is None and is_due(facts, calibration, calibrate, volume)):
        return None
    volumes = (volume(),) if volume is not None else ()
    question = Question(facts, with_calibration(spec, calibration.sha256), calibration, times, volumes)
    return _cached(question, cache, read)


def _times(spec: Spec, inference: InferenceSpec, cache: Cache, monitor: Monitor) -> LayerTimes | None:
    """Times of layers where a run will be, measured where they are not known."""
    if spec.budget != "time":
        return None
    with monitor.stage("measure") as stage:
        return layer_times(*_place(inference), Measurements(cache), stage)


def _known_times(spec: Spec, inference: InferenceSpec, cache: Cache) -> LayerTimes | None:
    return known_layer_times(*_place(inference), Measurements(cache)) if spec.budget == "time" else None


def _place(inference: InferenceSpec) -> Place:
    device, _ = hardware.choose(inference.device, hardware.devices())
    precision, _ = hardware.choose_precision(inference.precision, device)
    return Place(device, precision, inference.threads or hardware.default_threads())


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
