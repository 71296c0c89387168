"""Accuracy over factor and policy on any number of volumes: what ``tuckerseg explore`` measures.

Agreement is against the original network, so no labels are needed. A volume that the model was calibrated on and one
that calibration never saw are different questions; every row says which it answers.
"""

from __future__ import annotations

import contextlib
import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from .cache import Cache
from .calibrating import ModelCalibration, calibrate_model
from .compression.tucker import Spec
from .errors import SpecError
from .evaluation import dice_per_label, mean_dice
from .image import Image
from .job import DEFAULT_COMPRESSION, InferenceSpec
from .loading import compress
from .model import SegmentationModel
from .model_refit import refit_model
from .model_repair import repair_model
from .ready_model import prepare
from .repairing.settings import RepairSettings
from .segmentation import SegmentationResult, segment

POLICIES = {
    "paper": "one factor as in the Tucker paper; layers that would get dearer dense, so that all have one budget",
    "uniform": "one factor, layers that would not get cheaper dense, ranks in multiples of 8",
    "weights": "the factor's budget spread by the weights alone",
    "auto": "the factor's budget spread by calibration, factors fitted to it",
    "auto+refit": "auto, then layers fitted once more behind the inputs that they get: a minute",
    "auto+repair": "auto, then trained on its original's outputs: many minutes",
    "auto+refit+repair": "auto, fitted once more, then trained",
}
WORST = 5


@dataclass(frozen=True)
class CurvePoint:
    """One compressed network on one volume.

    Attributes:
        volume: Its file's name.
        calibrated: Whether this policy was calibrated on this very volume.
        policy, factor: How the network was compressed; ``original`` and 1 for the original.
        agreement: Mean Dice against the original network over its structures of at least 20 voxels; nan where it
            found none.
        worst: The structures that agree least, ``name dice``, the worst first.
        dice: Mean Dice against a reference over its structures of at least 20 voxels; None where none was given.
        macs_per_patch, parameters: Of all folds.
        network_seconds, total_seconds: Of the run.
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


@dataclass(frozen=True, eq=False)
class Case:
    """A volume, and labels (Z, Y, X) in the model's numbering that are taken for true, where there are any."""

    volume: Image
    reference: np.ndarray | None = None

    @property
    def name(self) -> str:
        return Path(self.volume.source).name


def measure_curve(
    model: SegmentationModel,
    cases: Sequence[Case],
    factors: Sequence[float],
    policies: Sequence[str],
    inference: InferenceSpec,
    cache: Cache,
    calibrate_on: Image | None = None,
    repair: RepairSettings | None = None,
    stop: Callable[[], None] = lambda: None,
) -> Iterator[CurvePoint]:
    """Run the original and every compressed network on every volume; points come when they are done.

    Calibrates for itself and leaves the model's stored calibration alone.

    Args:
        model: The original.
        factors: Below 1.
        policies: Of ``POLICIES``.
        calibrate_on: Volume that is calibrated, fitted and repaired on; None takes the first case.
        repair: How a policy with ``+repair`` trains; None takes the defaults.
        stop: Asked between runs; raises to stop.

    Raises:
        SpecError: A policy or factor that there is not.
    """
    unknown = [policy for policy in policies if policy not in POLICIES]
    if unknown:
        raise SpecError(f"Unknown policy {', '.join(unknown)}; known: {', '.join(POLICIES)}.")
    originals = list(_run_all(model, cases, inference, cache, stop))
    yield from (_point(case, "original", 1.0, found, found, False) for case, found in zip(cases, originals))
    source = calibrate_on or cases[0].volume
    calibrates = any(policy.startswith("auto") for policy in policies)
    calibration = calibrate_model(model, source, progress=lambda done: stop()) if calibrates else None
    for policy in policies:
        for factor in factors:
            spec = policy_spec(policy, factor, calibration)
            smaller = compress(model, spec, cache=cache, calibration=calibration if spec.calibration else None)
            smaller = _improved(smaller, model, policy, source, calibration, cache, repair or RepairSettings(), stop)
            for case, original, found in zip(cases, originals, _run_all(smaller, cases, inference, cache, stop)):
                seen = spec.calibration is not None and case.volume.source == source.source
                yield _point(case, policy, factor, found, original, seen)


def policy_spec(policy: str, factor: float, calibration: ModelCalibration | None = None) -> Spec:
    """The compression that a policy's name and a factor stand for."""
    if policy == "paper":
        return replace(Spec.paper(factor), keep_if_not_cheaper=True)
    if policy == "uniform":
        return Spec(factor)
    named = calibration.sha256 if policy.startswith("auto") and calibration else None
    return Spec(factor, calibration=named, **DEFAULT_COMPRESSION)


def as_csv(points: Sequence[CurvePoint]) -> str:
    """Points as a table with a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [field.name for field in fields(CurvePoint)]
    writer.writerow(names)
    for point in points:
        values = (getattr(point, name) for name in names)
        writer.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in values])
    return text.getvalue()


def as_text(points: Sequence[CurvePoint]) -> str:
    """Policies and factors as lines: agreement on the volumes calibrated on, and the mean of the others."""
    title = f"{'policy':12}{'factor':>7}{'GMACs':>9}{'M param.':>10}{'network s':>11}{'calibrated on':>15}{'others':>8}"
    lines = [title]
    for (policy, factor), group in _grouped(points).items():
        seconds = sum(point.network_seconds for point in group)
        own, others = (_mean(point.agreement for point in group if point.calibrated is seen) for seen in (True, False))
        lines.append(
            f"{policy:12}{factor:7.2f}{group[0].macs_per_patch / 1e9:9.2f}{group[0].parameters / 1e6:10.3f}"
            f"{seconds:11.2f}{_number(own):>15}{_number(others):>8}"
        )
    return "\n".join([*lines, "agreement: mean Dice against the original network, structures of 20 voxels or more"])


def draw_curve(points: Sequence[CurvePoint], path: Path) -> None:
    """Agreement over operations per patch, one panel per volume, one line per policy, as PNG.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    volumes = list(dict.fromkeys(point.volume for point in points))
    figure = Figure(figsize=(4.2 * len(volumes), 3.8), layout="constrained")
    panels = figure.subplots(1, len(volumes), sharey=True, squeeze=False)[0]
    policies = [name for name in dict.fromkeys(point.policy for point in points) if name != "original"]
    for panel, volume in zip(panels, volumes):
        for policy in policies:
            own = [point for point in points if (point.volume, point.policy) == (volume, policy)]
            label = f"{policy}, calibrated on it" if own[0].calibrated else policy
            panel.plot([p.macs_per_patch / 1e9 for p in own], [p.agreement for p in own], marker="o", label=label)
        panel.set(title=volume, xlabel="GMACs per patch", ylim=(0, 1.02))
        panel.grid(alpha=0.3)
        panel.legend(loc="lower right", fontsize=8)
    panels[0].set_ylabel("agreement with the original")
    figure.savefig(path, format="png", dpi=110)


def _run_all(
    model: SegmentationModel, cases: Sequence[Case], inference: InferenceSpec, cache: Cache, stop: Callable[[], None]
) -> Iterator[SegmentationResult]:
    stop()
    with contextlib.closing(prepare(model, inference, cache)) as ready:
        for case in cases:
            stop()
            yield segment(case.volume, ready, inference)


def _improved(
    model: SegmentationModel,
    original: SegmentationModel,
    policy: str,
    volume: Image,
    calibration: ModelCalibration | None,
    cache: Cache,
    repair: RepairSettings,
    stop: Callable[[], None],
) -> SegmentationModel:
    """What a policy does after the compression; a model that was not compressed stays as it is."""
    if not model.recipes:
        return model

    def cancelled() -> bool:
        stop()
        return False

    steps = policy.split("+")[1:]
    if "refit" in steps:
        model = refit_model(model, original, [volume], calibration, cache, progress=lambda done: stop())
    if "repair" in steps:
        model = repair_model(model, original, [volume], repair, device="auto", cancelled=cancelled)[0]
    return model


def _point(
    case: Case, policy: str, factor: float, found: SegmentationResult, original: SegmentationResult, seen: bool
) -> CurvePoint:
    dice = sorted((score, value) for value, score in dice_per_label(found.labels, original.labels).items())
    worst = ", ".join(f"{found.label_names[value]} {score:.2f}" for score, value in dice[:WORST] if score < 1)
    statistics = found.statistics
    return CurvePoint(
        volume=case.name,
        calibrated=seen,
        policy=policy,
        factor=factor,
        agreement=mean_dice(found.labels, original.labels),
        worst=worst,
        dice=None if case.reference is None else mean_dice(found.labels, case.reference),
        macs_per_patch=statistics.macs_per_patch,
        parameters=statistics.parameters,
        network_seconds=statistics.seconds["network"],
        total_seconds=statistics.seconds["total"],
    )


def _grouped(points: Sequence[CurvePoint]) -> dict[tuple[str, float], list[CurvePoint]]:
    groups: dict[tuple[str, float], list[CurvePoint]] = {}
    for point in points:
        groups.setdefault((point.policy, point.factor), []).append(point)
    return groups


def _mean(values: Iterator[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"
