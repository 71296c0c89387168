"""One step of a compression with the calibration that it goes by: the one that is kept, else one that is made now."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from ..cache import Cache
from ..errors import SpecError
from ..image import Image
from ..monitor import Monitor
from .calibration import (
    ModelCalibration,
    calibrate_model,
    has_built_in_volumes,
    store_calibration,
    stored_calibration,
    volume_id,
)
from .calibration_facts import CalibrationFacts
from .compress import compress
from .model import SegmentationModel
from .planning import with_calibration

Read = Callable[[SegmentationModel, Cache], "ModelCalibration | CalibrationFacts | None"]
WEIGHTS_ONLY = (
    "The compression goes by the weights alone: no volume was calibrated on, so more accuracy is lost than need be."
)


def compress_step(
    model: SegmentationModel,
    method: str,
    spec: Any,
    calibrate: str,
    cache: Cache,
    monitor: Monitor,
    volume: Callable[[], Image] | None,
) -> tuple[SegmentationModel, ModelCalibration | None]:
    """Compress a model by one method; calibrate before where that is due.

    Args:
        model: The original, or what earlier steps left.
        method: Name in ``compression.METHODS``.
        spec: The method's ``Spec``.
        calibrate: See ``Job.calibrate``.
        cache: Keeps calibrations and compressed models.
        monitor: Times the stages, and is asked within them whether to stop.
        volume: Gives the volume to calibrate on; None where there is none.

    Returns:
        The compressed model, and the calibration that was used, if any.

    Raises:
        SpecError, ImageError, Cancelled: See ``job_compression.compress_for_job``.
    """
    calibration = None
    if spec.needs_calibration:
        calibration = calibration_of(model, spec, calibrate, cache, monitor, volume)
        spec = with_calibration(spec, calibration and calibration.sha256)
        if calibration is None:
            warnings.warn(WEIGHTS_ONLY, stacklevel=2)
    volumes = [volume()] if volume is not None and getattr(spec, "needs_patches", False) else []
    with monitor.stage("compress") as stage:
        return compress(model, spec, method, cache, stage.in_hundredths(), calibration, volumes), calibration


def calibration_of(
    model: SegmentationModel,
    spec: Any,
    calibrate: str,
    cache: Cache,
    monitor: Monitor,
    volume: Callable[[], Image] | None,
) -> ModelCalibration | None:
    """The calibration that a compression of a model goes by, made and kept where it is due; None for none.

    Arguments and errors as for :func:`compress_step`.
    """
    calibration = known_calibration(model, spec, calibrate, cache)
    if spec.calibration is None and is_due(model, calibration, calibrate, volume):
        with monitor.stage("calibrate") as stage:
            image = volume() if volume is not None else None
            calibration = calibrate_model(model, image, calibration, monitor=stage.in_hundredths())
            store_calibration(model, calibration, cache)
    return calibration


def known_calibration(
    model: SegmentationModel, spec: Any, calibrate: str, cache: Cache, read: Read = stored_calibration
) -> ModelCalibration | CalibrationFacts | None:
    """The calibration that the cache has for the compression of a model; None where none is there, or to be used.

    Args:
        model: With its weights or without.
        spec: A method's ``Spec`` that needs a calibration; where it names one, that one must be there.
        calibrate: See ``Job.calibrate``.
        read: Reads the whole calibration, or its facts alone.

    Raises:
        SpecError: The spec names a calibration that is not here.
    """
    if calibrate == "none" and spec.calibration is None:
        return None
    stored = read(model, cache)
    if spec.calibration is not None and (stored is None or stored.sha256 != spec.calibration):
        raise SpecError(
            f"The calibration {spec.calibration[:12]} that the compression names is not on this computer. "
            "Calibrate on the same volumes first, or leave it out and another one is made."
        )
    if stored is not None and getattr(spec, "needs_ranges", False) and not stored.has_ranges:
        warnings.warn("The calibration of this model has no ranges, which INT8 needs; it is made anew.", stacklevel=3)
        return None
    return stored


def is_due(
    model: SegmentationModel,
    known: ModelCalibration | CalibrationFacts | None,
    calibrate: str,
    volume: Callable[[], Image] | None,
) -> bool:
    """Whether to calibrate before compressing: on the volume at hand, or on the built-in ones for want of it."""
    if calibrate == "none":
        return False
    if known is None:
        return volume is not None or has_built_in_volumes(model)
    if volume is None or not (calibrate == "volume" or known.built_in_alone):
        return False
    return volume_id(volume()) not in known.volume_ids
