"""Predicts what a run of a task costs and saves, from the estimates of its networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..image import Geometry, Image
from ..models.model import together
from ..models.resolved_job import ResolvedJob
from ..models.task import SegmentationTask, TaskPart
from ..preprocessing.roi_finder import RoiFinder
from ..records.estimate import Estimate
from .measurements import Measurements
from .memory import LABEL_BYTES
from .network import NOT_MEASURED, Estimator

SHARED_BYTES = 2  # of a voxel on the networks' grid, which the volume is kept on for the next network


class TaskEstimator:
    """Estimates runs of one task; it holds facts about its networks, but no weights.

    Args:
        task: The task.
        estimator_of: Gives the estimator of a network; it may return one that exists already.
        measurements: The measurements of this computer.
    """

    def __init__(
        self, task: SegmentationTask, estimator_of: Callable[[TaskPart], Estimator], measurements: Measurements
    ):
        self._task, self._measurements = task, measurements
        self._estimators = [estimator_of(part) for part in task.parts]

    def estimate(self, volume: Geometry | Image, resolved: ResolvedJob) -> Estimate:
        """Predict the cost of a run on a volume, or on its grid alone; see ``Estimator.estimate``."""
        geometry = volume.geometry if isinstance(volume, Image) else volume
        roi_finder = RoiFinder(resolved.inference)
        estimates = [estimator.estimate(volume, resolved, roi_finder) for estimator in self._estimators]
        named = [
            replace(estimate, parts=tuple(replace(own, name=part.name) for own in estimate.parts))
            for estimate, part in zip(estimates, self._task.parts)
        ]
        return named[0] if len(named) == 1 else self._sum(named, geometry, resolved)

    def unmeasured(self, geometry: Geometry, resolved: ResolvedJob) -> TaskPart | None:
        """The first network whose time has not been measured for a job; None where all are known."""
        seconds = [part.seconds for part in self.estimate(geometry, resolved).parts]
        return self._task.parts[seconds.index(None)] if None in seconds else None

    def _sum(self, estimates: Sequence[Estimate], geometry: Geometry, resolved: ResolvedJob) -> Estimate:
        """The estimate of all networks, run one after the other."""
        agreement, source = self._agreement(resolved)
        on_grid = max(estimator.grid_voxels(geometry) for estimator in self._estimators)
        beside = max(estimator.weight_bytes for estimator in self._estimators)  # of the network that is read meanwhile
        beside += math.prod(geometry.shape) * LABEL_BYTES + on_grid * SHARED_BYTES
        return replace(
            estimates[0],
            **{name: sum(getattr(estimate, name) for estimate in estimates) for name in SUMMED},
            **{name: _total([getattr(estimate, name) for estimate in estimates]) for name in KNOWN_OR_NOT},
            peak_memory_bytes=max(estimate.peak_memory_bytes for estimate in estimates) + beside,
            agreement=agreement,
            agreement_source=source,
            notes=tuple(dict.fromkeys(note for estimate in estimates for note in estimate.notes)),
            parts=tuple(part for estimate in estimates for part in estimate.parts),
        )

    def _agreement(self, resolved: ResolvedJob) -> tuple[float | None, str]:
        keys = [estimator.key_of(resolved) for estimator in self._estimators]
        if all(estimator.is_original(resolved) for estimator in self._estimators):
            return 1.0, "these are the original networks"
        own = self._measurements.agreement(together(keys))
        return (None, NOT_MEASURED) if own is None else (own[0], f"measured on {own[1]} with Compare strengths")


SUMMED = (
    "original_parameters",
    "parameters",
    "original_macs_per_patch",
    "macs_per_patch",
    "patches",
    "original_macs_per_volume",
    "macs_per_volume",
    "cache_bytes",
)


KNOWN_OR_NOT = ("seconds", "original_seconds", "patches_skipped")


def _total(values: Sequence[float | None]) -> float | None:
    """The sum; None where one value is not known."""
    return None if None in values else sum(values)
