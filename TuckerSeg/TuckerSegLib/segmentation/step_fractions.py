"""What the step of the patches costs and saves: time, memory and agreement of one network at several step fractions.

Larger steps overlap less: fewer patches, and fewer opinions on a voxel. The step is one more means to be faster beside
compression, and whoever chooses among means measures it here: see :func:`measure_steps`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from .. import hardware
from ..evaluation.dice import mean_dice
from ..image import Image
from ..monitor import Monitor
from ..records.job import DEFAULT_STEP_FRACTION, InferenceSpec
from .prepared_model import PreparedModel
from .segment import SegmentationResult, segment


class MeasuredVolume(Protocol):
    """A volume, and labels (Z, Y, X) in the model's numbering that are taken for true, where there are any."""

    volume: Image
    reference: np.ndarray | None


@dataclass(frozen=True)
class StepPoint:
    """One step fraction on one volume.

    Attributes:
        volume: Its file's name.
        step_fraction: Patch step / patch size.
        weights: ``gaussian`` or ``flat``: how patches count where they overlap.
        agreement: Mean Dice against the standard over its structures of at least 20 voxels; nan where it found none.
        dice: Mean Dice against a reference over its structures of at least 20 voxels; None where none was given.
        patches: That were run.
        network_seconds, total_seconds: Of the run.
        peak_memory_bytes: Of the process while it ran; where the system cannot tell that, since it began.
    """

    volume: str
    step_fraction: float
    weights: str
    agreement: float
    dice: float | None
    patches: int
    network_seconds: float
    total_seconds: float
    peak_memory_bytes: int


def measure_steps(
    ready: PreparedModel,
    cases: Sequence[MeasuredVolume],
    step_fractions: Sequence[float],
    inference: InferenceSpec,
    weights: Sequence[str] = ("gaussian",),
    monitor: Monitor | None = None,
    standards: Sequence[np.ndarray] | None = None,
) -> Iterator[StepPoint]:
    """Run a network at several step fractions on every volume; points come when they are done.

    Args:
        ready: The network, original or compressed, on its device.
        cases: As ``analysis.accuracy_curve.Case``.
        step_fractions: From 0.05 to 1.
        inference: All other settings.
        weights: ``gaussian``, ``flat`` or both.
        monitor: Asked within and between runs whether to stop; hears nothing.
        standards: Labels (Z, Y, X) of each volume that are compared with, as those of the original network; None: those
            of this network at nnU-Net's step fraction of 0.5 with Gaussian weights.

    Raises:
        SpecError: A step fraction out of its range, or weights that there are not.
        ImageError, BackendError, OutOfMemoryError, Cancelled: See ``segmentation.segment``.
    """
    monitor = (monitor or Monitor()).quiet()
    settings = [
        replace(inference, step_fraction=step, patch_weights=kind) for kind in weights for step in step_fractions
    ]
    usual = replace(inference, step_fraction=DEFAULT_STEP_FRACTION, patch_weights="gaussian")
    for number, case in enumerate(cases):
        measured: dict[InferenceSpec, SegmentationResult] = {}
        if standards is None:
            measured[usual] = _measured(case.volume, ready, usual, monitor)
        standard = measured[usual].labels if standards is None else standards[number]
        for each in settings:
            result = measured.get(each) or _measured(case.volume, ready, each, monitor)
            yield _point(case, each, result, standard)


def _measured(volume: Image, ready: PreparedModel, settings: InferenceSpec, monitor: Monitor) -> SegmentationResult:
    """One run, in which the memory's peak is that of the run."""
    monitor.check()
    hardware.trim_memory()
    hardware.forget_peak_memory()
    return segment(volume, ready, settings, monitor.quiet())


def _point(
    case: MeasuredVolume, settings: InferenceSpec, result: SegmentationResult, standard: np.ndarray
) -> StepPoint:
    statistics = result.statistics
    return StepPoint(
        volume=Path(case.volume.source).name,
        step_fraction=settings.step_fraction,
        weights=settings.patch_weights,
        agreement=mean_dice(result.labels, standard),
        dice=None if case.reference is None else mean_dice(result.labels, case.reference),
        patches=statistics.patches,
        network_seconds=statistics.seconds["network"],
        total_seconds=statistics.seconds["total"],
        peak_memory_bytes=statistics.peak_memory_bytes,
    )
