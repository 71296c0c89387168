"""Predicts what is done once before the first run of a compression: calibrating networks and decomposing them.

Counted as work with its usual seconds. How many times as long it takes on this computer is known after the first time.
"""

from __future__ import annotations

import math
from dataclasses import replace

from .. import hardware
from ..cache import Cache
from ..measurements import Measurements
from ..models.calibration import PATCHES_PER_VOLUME, crop_shape, has_built_in_volumes, pass_precision
from ..models.calibration_facts import is_calibrated_on_a_volume
from ..models.model import SegmentationModel
from ..models.resolved_job import ResolvedJob
from ..records.estimate import Estimate

# Seconds of one thread of a server processor of 2023, three full-size networks
PASS_SECONDS = {"bf16": 0.019, "fp32": 0.045}  # of 10^9 multiply-accumulates of a crop, forward and backward
PATCH_SECONDS = {"bf16": 0.005, "fp16": 0.005, "fp32": 0.009}  # of the same of a patch of a run, forward alone
PRODUCT_SECONDS = 0.024  # of 10^9 multiply-accumulates of the moments
DECOMPOSITION_SECONDS = 0.5  # of 10^6 parameters
LEAST_TOLD_SECONDS = 10.0
LEAST_REMEMBERED_SECONDS = 4.0  # usual ones; small networks tell nothing of large ones


def volumes_to_calibrate(model: SegmentationModel, resolved: ResolvedJob, cache: Cache, again: bool = False) -> int:
    """On how many volumes a network is calibrated before a run, as far as that is known before.

    Args:
        model: As it is on disk, with its weights or without.
        resolved: The job; its steps and ``calibrate`` count.
        cache: Where a calibration may lie.
        again: Whether what a step has left is calibrated, too, so that there is more to do than the first step's.
    """
    calibrate = resolved.job.calibrate
    if calibrate == "none" or not any(
        spec.needs_calibration and spec.calibration is None for _, spec in resolved.steps
    ):
        return 0
    known = None if again else is_calibrated_on_a_volume(model, cache)
    if known is None:
        return 1 + has_built_in_volumes(model)
    return int(calibrate == "volume" or not known)


def usual_first_use_seconds(model: SegmentationModel, volumes: int, methods: tuple[str, ...]) -> float | None:
    """Usual seconds of calibrating and compressing a network, with the threads that are taken here.

    Args:
        model: The original, with its weights or without.
        volumes: How many it is calibrated on; 0: it is calibrated.
        methods: Of the steps of its compression; None comes where one of them does not do the same for every model.
    """
    if any(method != "tucker" for method in methods):
        return None
    crop_gmacs, product_gmacs = _crop_work(model) if volumes else (0.0, 0.0)
    patch_s = PASS_SECONDS[pass_precision()] * crop_gmacs + PRODUCT_SECONDS * product_gmacs
    seconds = volumes * PATCHES_PER_VOLUME * patch_s + DECOMPOSITION_SECONDS * model.original_cost.parameters / 1e6
    return seconds * len(model.folds) / hardware.default_threads()


def _crop_work(model: SegmentationModel) -> tuple[float, float]:
    """10^9 multiply-accumulates of a crop, forward, and of the products of samples that its moments are."""
    from ..compression.calibration import POSITIONS
    from ..compression.cost import count
    from ..compression.linear_layers import weighted_layers
    from ..compression.sampling import tells_taps_apart

    network = model.structure()
    layers = [conv for conv in weighted_layers(network).values() if conv.groups == 1]
    widths = [conv.in_channels * (math.prod(conv.kernel_size) if tells_taps_apart(conv) else 1) for conv in layers]
    macs = count(network, crop_shape(model), model.plans.input_channels).total.macs
    return macs / 1e9, sum(POSITIONS * width**2 / 2 for width in widths) / 1e9


def here(usual_s: float, measurements: Measurements) -> float:
    """Seconds on this computer of what usually takes so many."""
    return usual_s * (measurements.first_use_ratio(_setting()) or 1.0)


def remember_first_use(seconds: float, usual_s: float, measurements: Measurements) -> None:
    """Remember what a first use took, for those to come, where it was not of a small network.

    Args:
        seconds: That it took.
        usual_s: From :func:`usual_first_use_seconds`.
        measurements: Where it is stored.
    """
    if usual_s >= LEAST_REMEMBERED_SECONDS:
        measurements.add_first_use_ratio(_setting(), seconds / usual_s)


def _setting() -> str:
    return f"{hardware.processor_name()} {pass_precision()} {hardware.default_threads()}"


def with_first_use_note(estimate: Estimate) -> Estimate:
    """An estimate with a note of what a first use takes, where that is worth one."""
    words = first_use_words(estimate)
    return estimate if words is None else replace(estimate, notes=(words, *estimate.notes))


def first_use_words(estimate: Estimate) -> str | None:
    """What a first use takes, and whether the original would be done before it; None where it takes next to nothing."""
    first_s, seconds, original_s = estimate.first_use_seconds, estimate.seconds, estimate.original_seconds
    if first_s is not None and first_s < LEAST_TOLD_SECONDS:
        return None
    networks = f"{len(estimate.parts)} networks are" if len(estimate.parts) > 1 else "the network is"
    words = f"First use of this compression: {networks} "
    if first_s is None:
        words += "made before the run, this once; how long that takes is not known."
    else:
        words += f"calibrated and compressed before the run, this once, which takes about {in_words(first_s)}."
    if seconds is not None:
        words += f" The run itself, and every later one, takes about {in_words(seconds)}."
    about = "about"
    if original_s is None and estimate.device.endswith(":cpu"):
        gmacs = estimate.original_macs_per_volume / 1e9
        original_s, about = PATCH_SECONDS[estimate.precision] * gmacs / hardware.default_threads(), "roughly"
    if original_s is None:
        return words
    words += f" The original (rank 1) needs no such preparation and takes {about} {in_words(original_s)}"
    sooner = first_s is not None and original_s < first_s + (seconds or 0.0)
    return words + (": its result would be there sooner this time." if sooner else ".")


def in_words(seconds: float) -> str:
    """A duration as precise as a prediction: in steps of 5 s, or in minutes."""
    return f"{max(5, 5 * round(seconds / 5))} s" if seconds < 100 else f"{round(seconds / 60)} min"
