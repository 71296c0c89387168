"""Accuracy over factor and policy on any number of volumes: what ``tuckerseg explore`` measures.

Agreement is against the original network, so no labels are needed. A volume that the model was calibrated on and one
that calibration never saw are different questions; every row says which it answers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..cache import Cache
from ..compression.policies import is_calibrated, policy_spec, with_improvements
from ..errors import SpecError
from ..evaluation.dice import dice_per_label, mean_dice
from ..image import Image
from ..models.allocated import known_shares
from ..models.calibration import ModelCalibration, calibrate_model
from ..models.compress import compress
from ..models.distillation import planned_repair, repair_model
from ..models.model import SegmentationModel
from ..models.model_file import cached_model, store_model
from ..models.refit import refit_model
from ..monitor import Monitor
from ..printable import shown
from ..records.job import ALLOCATOR, InferenceSpec
from ..segmentation.prepared_model import prepare
from ..segmentation.segment import SegmentationResult, segment
from ..training.distillation.settings import RepairSettings

WORST = 5


@dataclass(frozen=True)
class CurvePoint:
    """One compressed network on one volume.

    Attributes:
        volume: Its file's name.
        calibrated: Whether this policy was calibrated on this very volume.
        policy, factor: How the network was compressed; ``original`` and 1 for the original. Of a finished model its
            name and its share of the original's multiply-accumulates.
        agreement: Mean Dice against the original network over its structures of at least 20 voxels; nan where it
            found none.
        worst: The structures that agree least, ``name dice``, the worst first.
        dice: Mean Dice against a reference over its structures of at least 20 voxels; None where none was given.
        macs_per_patch, parameters: Of all folds.
        network_seconds, total_seconds: Of the run.
        network_share: Of the original's ``network_seconds`` on this volume.
        predicted_share, measured_share: Of the original's time of a patch, where all means together were asked for a
            share of it or an agreement: by the times of layers, and as the choice was timed; else None.
        model_bytes: Of the weights as they are held; of a finished model that is a file, of the file.
    """

    volume: str
    calibrated: bool
    policy: str
    factor: float
    agreement: float
    worst: str
    dice: float | None
    macs_per_patch: int
    parameters: int
    network_seconds: float
    total_seconds: float
    network_share: float = 1.0
    predicted_share: float | None = None
    measured_share: float | None = None
    model_bytes: int = 0


@dataclass(frozen=True)
class FinishedModel:
    """A model that was made before, as by a distillation or a fine-tuning.

    Attributes:
        name: For people.
        load: Gives it with its weights.
        file_bytes: Size of its file; None where it is none.
    """

    name: str
    load: Callable[[], SegmentationModel]
    file_bytes: int | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """A volume, and labels (Z, Y, X) in the model's numbering that are taken for true, where there are any."""

    volume: Image
    reference: np.ndarray | None = None

    @property
    def name(self) -> str:
        """File name of the volume."""
        return Path(self.volume.source).name


def measure_curve(
    model: SegmentationModel,
    cases: Sequence[Case],
    factors: Sequence[float],
    policies: Sequence[str],
    inference: InferenceSpec,
    cache: Cache,
    calibrate_on: Sequence[Image] = (),
    repair: RepairSettings | None = None,
    monitor: Monitor | None = None,
    finished: Sequence[FinishedModel] = (),
) -> Iterator[CurvePoint]:
    """Run the original and every compressed network on every volume; points come when they are done.

    Calibrates for itself and leaves the model's stored calibration alone.

    Args:
        model: The original.
        factors: Below 1.
        policies: Names of ``compression.policies``, each with improvements or without, as ``auto+refit``.
        calibrate_on: Volumes that are calibrated, fitted and repaired on, of several the last is held back from
            repair; none takes the first case.
        repair: How a policy with ``+repair`` trains; None takes the defaults.
        monitor: Asked within and between runs whether to stop; hears nothing.
        finished: Models that are compared as they are, after the policies.

    Raises:
        SpecError: A policy or factor that there is not, or a finished model with other labels.
    """
    monitor = (monitor or Monitor()).quiet()
    for policy in policies:
        with_improvements(policy)
    originals = list(_run_all(model, cases, inference, cache, monitor))
    for case, result in zip(cases, originals):
        yield _point(case, "original", 1.0, result, result, False, model.weight_bytes)
    volumes, repair = list(calibrate_on) or [cases[0].volume], repair or RepairSettings()
    seen = {volume.source for volume in volumes}
    calibrates = any(is_calibrated(_base(policy)) for policy in policies)
    calibration = _calibration(model, volumes, monitor) if calibrates else None
    for policy in policies:
        for factor in factors:
            method, spec = policy_spec(_base(policy), factor, comparable=True)
            used = calibration if is_calibrated(_base(policy)) and spec.needs_calibration else None
            smaller = compress(model, spec, method, cache, monitor, used, volumes, inference)
            smaller = _improved(
                smaller, model, policy, volumes, calibration, cache, repair or RepairSettings(), monitor
            )
            shares = _shares(model, smaller, (method, spec), inference, cache)
            for case, original, result in zip(cases, originals, _run_all(smaller, cases, inference, cache, monitor)):
                calibrated = used is not None and case.volume.source in seen
                point = _point(case, policy, factor, result, original, calibrated, smaller.weight_bytes)
                yield replace(point, predicted_share=shares[0], measured_share=shares[1])
    for each in finished:
        other = each.load()
        _require_labels(other, model, each.name)
        share, size = other.cost.macs / model.cost.macs, each.file_bytes or other.weight_bytes
        for case, original, result in zip(cases, originals, _run_all(other, cases, inference, cache, monitor)):
            yield _point(case, each.name, share, result, original, False, size)


def _shares(
    model: SegmentationModel, smaller: SegmentationModel, step: tuple[str, Any], inference: InferenceSpec, cache: Cache
) -> tuple[float | None, float | None]:
    """Shares of the original's time of what the allocator chose, predicted and measured; None where it is not asked."""
    method, spec = step
    if method != ALLOCATOR or not smaller.recipes:
        return None, None
    return known_shares(model, spec, inference, cache) or (None, None)


def _require_labels(other: SegmentationModel, model: SegmentationModel, name: str) -> None:
    """Raise SpecError where two models mean other structures by the same numbers."""
    own, theirs = ({label.value: label.name for label in each.plans.labels} for each in (model, other))
    if own != theirs:
        value = min(value for value in own.keys() | theirs.keys() if own.get(value) != theirs.get(value))
        raise SpecError(
            f"{name}: a model with the labels of {model.name} is expected, whose label {value} is "
            f"{shown(own.get(value))}; found {shown(theirs.get(value))}. Leave it out."
        )


def _base(policy: str) -> str:
    """The policy without what follows it."""
    return policy.split("+")[0]


def _calibration(model: SegmentationModel, volumes: Sequence[Image], monitor: Monitor) -> ModelCalibration:
    """One calibration on all volumes."""
    calibration = None
    for volume in volumes:
        calibration = calibrate_model(model, volume, calibration, monitor=monitor)
    return calibration


def _run_all(
    model: SegmentationModel, cases: Sequence[Case], inference: InferenceSpec, cache: Cache, monitor: Monitor
) -> Iterator[SegmentationResult]:
    monitor.check()
    with contextlib.closing(prepare(model, inference, cache)) as ready:
        for case in cases:
            monitor.check()
            yield segment(case.volume, ready, inference, monitor.quiet())


def _improved(
    model: SegmentationModel,
    original: SegmentationModel,
    policy: str,
    volumes: Sequence[Image],
    calibration: ModelCalibration | None,
    cache: Cache,
    repair: RepairSettings,
    monitor: Monitor,
) -> SegmentationModel:
    """What a policy does after the compression; a model that was not compressed stays as it is."""
    if not model.recipes:
        return model
    steps = policy.split("+")[1:]
    if "refit" in steps:
        model = refit_model(model, original, volumes, calibration, cache, monitor=monitor)
    return _repaired(model, original, volumes, cache, repair, monitor) if "repair" in steps else model


def _repaired(
    model: SegmentationModel,
    original: SegmentationModel,
    volumes: Sequence[Image],
    cache: Cache,
    settings: RepairSettings,
    monitor: Monitor,
) -> SegmentationModel:
    """A repaired model, kept: an exploration that was stopped does not train anew."""
    planned = planned_repair(model, original, volumes, settings)
    if cached := cached_model(cache, planned):
        return replace(cached, weights=dict(cached.weights))  # told by its tensors: a GPU trains no two times alike
    repaired = repair_model(model, original, volumes, settings, device="auto", monitor=monitor)[0]
    store_model(cache, planned.key, repaired)
    return repaired


def _point(
    case: Case,
    policy: str,
    factor: float,
    result: SegmentationResult,
    original: SegmentationResult,
    calibrated: bool,
    model_bytes: int,
) -> CurvePoint:
    dice = sorted((score, value) for value, score in dice_per_label(result.labels, original.labels).items())
    worst = ", ".join(f"{result.label_names[value]} {score:.2f}" for score, value in dice[:WORST] if score < 1)
    statistics = result.statistics
    return CurvePoint(
        volume=case.name,
        calibrated=calibrated,
        policy=policy,
        factor=factor,
        agreement=mean_dice(result.labels, original.labels),
        worst=worst,
        dice=None if case.reference is None else mean_dice(result.labels, case.reference),
        macs_per_patch=statistics.macs_per_patch,
        parameters=statistics.parameters,
        network_seconds=statistics.seconds["network"],
        total_seconds=statistics.seconds["total"],
        network_share=statistics.seconds["network"] / original.statistics.seconds["network"],
        model_bytes=model_bytes,
    )
