"""Predicts what a run of a task costs and saves, from the estimates of its networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..catalog.entries import MASK
from ..image import Geometry, Image
from ..measurements import Measurements
from ..models.model import joint_key
from ..models.resolved_job import ResolvedJob
from ..models.task import VOTES, SegmentationTask, TaskPart
from ..preprocessing.roi_finder import RoiFinder
from ..records.estimate import Estimate
from .first_use import with_first_use_note
from .memory import LABEL_BYTES
from .network import NOT_MEASURED, Estimator

PROBABILITY_BYTES = 4  # of a voxel and a class, which an ensemble sums up
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
        """Estimate a run of all networks.

        Args:
            volume: An image, or its geometry alone: then patches that a run will skip cannot be told from the others.
            resolved: The job; its compression and inference count, its model is this task.

        Raises:
            SpecError, BackendError: As ``Estimator.estimate``.
        """
        geometry = volume.geometry if isinstance(volume, Image) else volume
        roi_finder = RoiFinder(resolved.inference)
        estimates = [estimator.estimate(volume, resolved, roi_finder) for estimator in self._estimators]
        estimates_of_parts = [
            replace(estimate, parts=tuple(replace(own, name=part.name) for own in estimate.parts))
            for estimate, part in zip(estimates, self._task.parts)
        ]
        if len(estimates_of_parts) == 1:
            return with_first_use_note(estimates_of_parts[0])
        return with_first_use_note(self._sum(estimates_of_parts, geometry, resolved))

    def unmeasured(self, geometry: Geometry, resolved: ResolvedJob) -> TaskPart | None:
        """The first network whose time on this computer is not known for a job; None where all are known.

        Args:
            geometry: Of the volume.
            resolved: The job.
        """
        seconds = [part.seconds for part in self.estimate(geometry, resolved).parts]
        return self._task.parts[seconds.index(None)] if None in seconds else None

    def _sum(self, estimates: Sequence[Estimate], geometry: Geometry, resolved: ResolvedJob) -> Estimate:
        """The estimate of all networks, run one after the other."""
        agreement, source = self._agreement(resolved)
        on_grid = max(estimator.grid_voxels(geometry) for estimator in self._estimators)
        beside = 0
        if any(estimate.cache_bytes or not estimate.device.startswith("openvino") for estimate in estimates):
            beside += max(estimator.weight_bytes for estimator in self._estimators)  # of the one that is read meanwhile
        voxels = math.prod(geometry.shape)
        beside += voxels * LABEL_BYTES + on_grid * SHARED_BYTES
        beside += voxels * sum(part.role == MASK for part in self._task.parts)
        if any(part.role == VOTES for part in self._task.parts):
            beside += voxels * self._estimators[-1].logit_channels * PROBABILITY_BYTES
        return replace(
            estimates[0],
            **{name: sum(getattr(estimate, name) for estimate in estimates) for name in SUMMED_FIELDS},
            **{name: _total([getattr(estimate, name) for estimate in estimates]) for name in OPTIONAL_FIELDS},
            peak_memory_bytes=max(estimate.peak_memory_bytes for estimate in estimates) + beside,
            agreement=agreement,
            agreement_source=source,
            notes=tuple(dict.fromkeys(note for estimate in estimates for note in estimate.notes)),
            parts=tuple(part for estimate in estimates for part in estimate.parts),
        )

    def _agreement(self, resolved: ResolvedJob) -> tuple[float | None, str]:
        """Agreement with the original networks, and its source."""
        keys = [estimator.key_of(resolved) for estimator in self._estimators]
        if all(estimator.is_original(resolved) for estimator in self._estimators):
            return 1.0, "these are the original networks"
        own = self._measurements.agreement(joint_key(keys))
        return (None, NOT_MEASURED) if own is None else (own[0], f"measured on {own[1]} with Compare strengths")


SUMMED_FIELDS = (
    "original_parameters",
    "parameters",
    "original_macs_per_patch",
    "macs_per_patch",
    "patches",
    "original_macs_per_volume",
    "macs_per_volume",
    "cache_bytes",
)


OPTIONAL_FIELDS = ("seconds", "original_seconds", "patches_skipped", "first_use_seconds")


def _total(values: Sequence[float | None]) -> float | None:
    """The sum; None where one value is not known."""
    return None if None in values else sum(values)
