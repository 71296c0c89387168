"""A model compressed as a job asks for it, calibrated on the volume at hand where nothing better is known."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .. import compression
from ..cache import Cache
from ..errors import SpecError
from ..image import Image
from ..monitor import Stopwatch
from ..records.compression import LayerChange
from ..records.job import Job
from .calibration import (
    ModelCalibration,
    calibrate_model,
    has_built_in_volumes,
    store_calibration,
    stored_calibration,
    volume_id,
    wants_calibration,
)
from .compress import cached_compression, compress
from .decomposition import rank_evidence
from .file import read_model_facts
from .model import SegmentationModel, require_original
from .refit import refit_model

WEIGHTS_ONLY = (
    "The ranks were chosen by the weights alone: no volume was calibrated on, so more accuracy is lost than need be."
)


def compress_as_asked(
    model: SegmentationModel,
    job: Job,
    cache: Cache,
    watch: Stopwatch,
    volume: Callable[[], Image] | None,
    stop: Callable[[], None],
) -> SegmentationModel:
    """The model as a job wants it.

    Args:
        model: The original.
        volume: Gives the volume at hand; None where there is none, so that at best the built-in ones are calibrated on.
        stop: Asked now and then; raises to stop.

    Raises:
        SpecError: The model is compressed already, the job names a calibration that is not here, or a refit is asked
            for where nothing is calibrated.
        ImageError: The volume does not fit the model.
    """
    if job.method is None:
        return model
    spec, calibration = _asked(model, job, cache)
    if wants_calibration(spec):
        if spec.calibration is None and _is_due(model, calibration, job.calibrate, volume):
            with watch.stage("calibrate"):
                seen = volume() if volume is not None else None
                calibration = calibrate_model(model, seen, calibration, progress=lambda done: stop())
                store_calibration(model, calibration, cache)
        spec = with_calibration(spec, calibration)
        if calibration is None:
            warnings.warn(WEIGHTS_ONLY, stacklevel=2)
    with watch.stage("compress"):
        smaller = compress(model, spec, job.method, cache, lambda done: stop(), calibration)
    if not (job.refit and smaller.recipes):
        return smaller
    if calibration is None:
        raise SpecError("A refit goes on from a calibrated compression: take the policy auto, and let it calibrate.")
    with watch.stage("refit"):
        seen = [volume()] if volume is not None else []
        return refit_model(smaller, model, seen, calibration, cache, progress=lambda done: stop())


def facts_as_asked(
    facts: SegmentationModel, job: Job, cache: Cache, volume: Callable[[], Image] | None
) -> SegmentationModel | None:
    """What :func:`compress_as_asked` gives, but for its weights; None where something is left to be computed for that.

    Args:
        facts: Of the original.
        volume: As there.

    Raises:
        SpecError: As there.
    """
    if job.method is None:
        return facts
    spec, calibration = _asked(facts, job, cache)
    if wants_calibration(spec):
        if job.refit or (spec.calibration is None and _is_due(facts, calibration, job.calibrate, volume)):
            return None
        spec = with_calibration(spec, calibration)
    found = cached_compression(facts, spec, job.method, cache, read_model_facts)
    if found is not None and calibration is None and wants_calibration(spec):
        warnings.warn(WEIGHTS_ONLY, stacklevel=2)
    return found


def known_calibration(model: SegmentationModel, spec: Any, calibrate: str, cache: Cache) -> ModelCalibration | None:
    """What is stored for a model and fits a compression that wants a calibration.

    Args:
        calibrate: See ``Job.calibrate``.

    Raises:
        SpecError: The spec names a calibration that is not here.
    """
    if calibrate == "none" and spec.calibration is None:
        return None
    found = stored_calibration(model, cache)
    if spec.calibration is not None and (found is None or found.sha256 != spec.calibration):
        raise SpecError(
            f"The calibration {spec.calibration[:12]} that the compression names is not on this computer. "
            "Calibrate on the same volumes first, or leave it out and another one is made."
        )
    return found


def planned_changes(
    model: SegmentationModel, spec: Any, calibrate: str, cache: Cache, method: str = "tucker"
) -> tuple[LayerChange, ...]:
    """What a compression would do to each layer with the calibration that is known; nothing is calibrated.

    Args:
        calibrate: See ``Job.calibrate``.
    """
    calibration = known_calibration(model, spec, calibrate, cache) if wants_calibration(spec) else None
    spec, plans = with_calibration(spec, calibration), model.plans
    evidence = rank_evidence(model, spec, cache, calibration)
    module = compression.method(method)
    return module.plan(model.structure(), spec, plans.patch_shape, plans.input_channels, evidence)


def with_calibration(spec: Any, calibration: ModelCalibration | None) -> Any:
    """The spec with its calibration named."""
    return spec if calibration is None else replace(spec, calibration=calibration.sha256)


def _asked(model: SegmentationModel, job: Job, cache: Cache) -> tuple[Any, ModelCalibration | None]:
    """The ``Spec`` of a job's compression, and the calibration that is known for it."""
    require_original(model)
    spec = compression.spec_of(job.method, job.compression)
    return spec, known_calibration(model, spec, job.calibrate, cache) if wants_calibration(spec) else None


def _is_due(
    model: SegmentationModel, known: ModelCalibration | None, calibrate: str, volume: Callable[[], Image] | None
) -> bool:
    """Whether to calibrate before compressing: on the volume at hand, or on the built-in ones for want of it."""
    if calibrate == "none":
        return False
    if known is None:
        return volume is not None or has_built_in_volumes(model)
    if volume is None or not (calibrate == "volume" or known.built_in_alone):
        return False
    return volume_id(volume()) not in known.volume_ids
