"""Predicts how long a run takes, from the times of earlier runs on this computer.

The network's time is counted in patches, everything beside it in voxels. Times of other compressions of the same model
are interpolated by their multiply-accumulates.
"""

from __future__ import annotations

import math

import numpy as np

from .. import hardware
from ..image import Geometry
from ..measurements import Measurements
from ..models.architecture_key import architecture_key
from ..nnunet.plans import ModelPlans
from ..preprocessing.preprocess import grid_voxels
from ..records.job import InferenceSpec
from ..records.statistics import RunStatistics

GRID_VOXEL_WEIGHT = 6  # labeling one voxel of the model's grid takes as long as six of the image; the built-in model
USUAL_SECONDS = 0.03  # per million voxels so weighted; the built-in model on two cores of a 2023 server processor
SAME_COST_TOLERANCE = 0.02  # networks of a task differ in their heads, and in what a calibration makes of their layers
BOUND_COST_TOLERANCE = 0.25  # of networks whose layers are yet to be settled
INTERPOLATED = "The time is interpolated between compressions that were measured."


class Timing:
    """Predicts the times of a model and its compressed forms on one device.

    Args:
        measurements: The measurements of this computer.
        setting: Model, device and settings, from :func:`planned_setting`.
    """

    def __init__(self, measurements: Measurements, setting: str):
        self._patch_s = measurements.patch_seconds(setting)
        self._voxel_s = measurements.voxel_seconds(setting)

    def patch_seconds(self, macs_per_patch: int, tolerance: float = SAME_COST_TOLERANCE) -> float | None:
        """Predict the seconds of a patch.

        Args:
            macs_per_patch: Cost of the network.
            tolerance: Relative difference up to which a measured cost counts as this one.

        Returns:
            Measured or interpolated by the MACs; None where neither this cost nor costs on both sides were measured.
        """
        costs = sorted(self._patch_s)
        nearest = min(costs, key=lambda cost: abs(cost - macs_per_patch), default=0)
        if abs(nearest - macs_per_patch) <= tolerance * macs_per_patch:
            return self._patch_s[nearest] * macs_per_patch / nearest
        if len(costs) < 2 or not costs[0] < macs_per_patch < costs[-1]:
            return None
        return float(np.interp(macs_per_patch, costs, [self._patch_s[cost] for cost in costs]))

    def interpolates(self, macs_per_patch: int) -> bool:
        """Whether the seconds of a patch of this cost are interpolated between two measurements."""
        same = any(abs(cost - macs_per_patch) <= SAME_COST_TOLERANCE * macs_per_patch for cost in self._patch_s)
        return not same and self.patch_seconds(macs_per_patch) is not None

    def beside_network_seconds(self, geometry: Geometry, plans: ModelPlans) -> float:
        """Predict the seconds of resampling a volume and of labeling it."""
        per_million = USUAL_SECONDS if self._voxel_s is None else self._voxel_s
        return per_million * weighted_voxels(math.prod(geometry.shape), grid_voxels(geometry, plans)) / 1e6


def setting_of(
    architecture: str, device_id: str, device_name: str, precision: str, threads: int, batch_size: int
) -> str:
    """Key of measured times: all that they depend on but compression and volume.

    Args:
        architecture: From ``model.architecture_key``.
        device_id, device_name: As ``tuckerseg devices`` lists them.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        threads: Of the processor.
        batch_size: Patches at once.
    """
    return f"{architecture} {device_id} {device_name} {precision} {threads} {batch_size}"


def planned_setting(
    plans: ModelPlans, device: hardware.Device, precision: str, inference: InferenceSpec, whole_share: float = 0.0
) -> str:
    """Key of measured times for a run that is yet to be done; see :func:`setting_of` and ``model.whole_share``."""
    threads = inference.threads or hardware.default_threads()
    return setting_of(
        architecture_key(plans, whole_share), device.id, device.name, precision, threads, inference.batch_size
    )


def weighted_voxels(voxels: int, on_grid: int) -> int:
    """Voxels of a volume plus six times its voxels on the model's grid: a measure of the work beside the network."""
    return voxels + GRID_VOXEL_WEIGHT * on_grid


def remember_run(statistics: RunStatistics, inference: InferenceSpec, measurements: Measurements) -> None:
    """Store the times of a run's networks, from which those of later runs are predicted.

    Args:
        statistics: Of the run.
        inference: How it ran; its batch size counts.
        measurements: Where they are stored.
    """
    s = statistics
    for part in s.parts:
        setting = setting_of(part.architecture, s.device, s.device_name, s.precision, s.threads, inference.batch_size)
        passes = part.macs_per_volume / part.macs_per_patch
        if not passes:
            continue
        measurements.add_patch_seconds(setting, part.macs_per_patch, part.seconds["network"] / passes)
        if s.computed_shape is not None:
            continue  # so much of the voxels cost nothing that the others' seconds cannot be told
        beside_s = part.seconds["preprocess"] + part.seconds["finish"]
        weighted = weighted_voxels(s.voxels, part.grid_voxels)
        measurements.add_voxel_seconds(setting, beside_s / weighted * 1e6)
