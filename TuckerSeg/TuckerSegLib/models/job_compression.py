"""A model compressed as a job asks for it, calibrated on the volume at hand where nothing better is known."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

from ..cache import Cache
from ..compression import ALLOCATOR
from ..errors import SpecError
from ..image import Image
from ..monitor import Monitor
from .calibration_facts import stored_calibration_facts
from .compress import cached_compression, compress
from .compression_step import WEIGHTS_ONLY, compress_step, is_due, known_calibration
from .material import prepare_folds
from .model import SegmentationModel
from .model_file import read_model_facts
from .patches import with_air, with_patches
from .planning import CompressionPlan, plan_compression, require_new_method, with_calibration
from .refit import refit_model
from .resolved_job import ResolvedJob


def compress_for_job(
    model: SegmentationModel,
    resolved: ResolvedJob,
    cache: Cache,
    monitor: Monitor,
    volume: Callable[[], Image] | None,
) -> SegmentationModel:
    """Compress a model by all steps of a job, each on the model that the one before left; calibrate where due.

    Args:
        model: As it is on disk, with its weights.
        resolved: The job; its steps, ``calibrate`` and ``refit`` count.
        cache: Keeps calibrations and compressed models.
        monitor: Times the stages, and is asked within them whether to stop.
        volume: Gives the volume to be segmented; None where there is none, so that at best the built-in ones are
            calibrated on.

    Returns:
        The compressed model; the model itself where the job has no steps.

    Raises:
        SpecError: A method is applied a second time, the job names a calibration that is not here, or a refit is asked
            for where nothing is calibrated.
        ImageError: The volume does not fit the model.
        Cancelled: The monitor said so.
    """
    require_new_methods(model, resolved)
    job, before, calibration = resolved.job, model, None
    for method, spec in resolved.steps:
        if method == ALLOCATOR:  # with its refit
            from .allocated import compress_by_allocation

            return compress_by_allocation(model, spec, resolved.inference, job.calibrate, cache, monitor, volume)
        before = model
        model, calibration = compress_step(model, method, spec, job.calibrate, cache, monitor, volume)
    if not job.refit or model is before:
        return model
    if calibration is None:
        raise SpecError(
            "A refit goes on from a calibrated compression: let it calibrate, with the automatic policy.",
            shell="That is --policy auto, and not --calibrate none.",
        )
    with monitor.stage("refit") as stage:
        images = [volume()] if volume is not None else []
        return refit_model(model, before, images, calibration, cache, monitor=stage.in_hundredths())


def facts_for_job(
    facts: SegmentationModel, resolved: ResolvedJob, cache: Cache, volume: Callable[[], Image] | None
) -> SegmentationModel | None:
    """The model that :func:`compress_for_job` gives, without weights, where the cache has it.

    Args:
        facts: The model as it is on disk, without weights.
        resolved, cache, volume: As for :func:`compress_for_job`.

    Returns:
        None where the model, or a calibration for it, has yet to be computed.

    Raises:
        SpecError: As for :func:`compress_for_job`.
    """
    require_new_methods(facts, resolved)
    job = resolved.job
    for method, spec in resolved.steps:
        if method == ALLOCATOR:
            from .allocated import known_answer

            return known_answer(facts, spec, resolved.inference, job.calibrate, cache, volume, read_model_facts)
        calibration = None
        if getattr(spec, "needs_patches", False):
            return None
        if spec.needs_calibration:
            calibration = known_calibration(facts, spec, job.calibrate, cache, stored_calibration_facts)
            if job.refit or (spec.calibration is None and is_due(facts, calibration, job.calibrate, volume)):
                return None
            spec = with_calibration(spec, calibration and calibration.sha256)
        facts = cached_compression(facts, with_air(facts, spec), method, cache, read_model_facts)
        if facts is None:
            return None
        if spec.needs_calibration and calibration is None:
            warnings.warn(WEIGHTS_ONLY, stacklevel=2)
    return facts


def planned_steps(model: SegmentationModel, resolved: ResolvedJob, cache: Cache) -> Iterator[CompressionPlan]:
    """Plan each step of a job with the calibrations that the cache has; nothing is calibrated.

    Args:
        model: As it is on disk, with its weights.
        resolved: The job; its steps and ``calibrate`` count.
        cache: Where calibrations are, and materials are kept.

    Raises:
        SpecError: See :func:`compress_for_job`.
    """
    require_new_methods(model, resolved)
    steps, calibrate = resolved.steps, resolved.job.calibrate
    for number, (method, spec) in enumerate(steps, start=1):
        if method == ALLOCATOR:
            from .allocated import compress_by_allocation

            made = compress_by_allocation(model, spec, resolved.inference, calibrate, cache, Monitor(), None)
            yield from (CompressionPlan(made, recipe, True) for recipe in made.recipes)
            return
        calibration = known_calibration(model, spec, calibrate, cache) if spec.needs_calibration else None
        spec = with_calibration(spec, calibration and calibration.sha256)
        spec, patches = with_patches(model, spec, ())
        materials = (
            prepare_folds(model, spec, method, cache, calibration, patches=patches) if spec.needs_weights else ()
        )
        plan = plan_compression(model, spec, method, materials)
        yield plan
        if any(later.needs_weights for _, later in steps[number:]):
            model = compress(model, spec, method, cache, calibration=calibration)
        else:
            model = plan.model


def require_new_methods(model: SegmentationModel, resolved: ResolvedJob) -> None:
    """Raise SpecError where a job compresses a model by a method that has been applied to it before."""
    for method, _ in resolved.steps:
        require_new_method(model, method)
