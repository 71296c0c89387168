"""How long a run will take, from what runs took on this computer.

The network's time is counted in patches, everything beside it in voxels. Times of other ranks of the same model are
interpolated by their multiply-accumulates.
"""

from __future__ import annotations

import math
import time

import numpy as np

from . import catalog, hardware
from .image import Geometry
from .job import InferenceSpec
from .measurements import Measurements
from .nnunet.plans import ModelPlans
from .preprocessing import grid_shape
from .ready_model import ReadyModel
from .segmentation import SegmentationResult

GRID_VOXEL_WEIGHT = 6  # labeling one voxel of the model's grid takes as long as six of the image; the built-in model
USUAL_SECONDS = 0.03  # per million voxels so weighted; the built-in model on two cores of a 2023 server processor
INTERPOLATED = "The time is interpolated between ranks that were measured."


class Timing:
    """What one model and its compressed forms take on one device.

    Args:
        measurements: What was measured on this computer.
        setting: See :func:`setting_of`.
    """

    def __init__(self, measurements: Measurements, setting: str):
        self._patch_s = measurements.patch_seconds(setting)
        self._voxel_s = measurements.voxel_seconds(setting)

    def patch_seconds(self, macs_per_patch: int) -> float | None:
        """Of a patch; None where neither this cost nor costs on both sides of it were measured."""
        if macs_per_patch in self._patch_s:
            return self._patch_s[macs_per_patch]
        costs = sorted(self._patch_s)
        if len(costs) < 2 or not costs[0] < macs_per_patch < costs[-1]:
            return None
        return float(np.interp(macs_per_patch, costs, [self._patch_s[cost] for cost in costs]))

    def interpolates(self, macs_per_patch: int) -> bool:
        """Whether the seconds of such a patch are read off between two measurements."""
        return macs_per_patch not in self._patch_s and self.patch_seconds(macs_per_patch) is not None

    def beside_network_seconds(self, geometry: Geometry, plans: ModelPlans) -> float:
        """Of resampling a volume and labeling it."""
        per_million = USUAL_SECONDS if self._voxel_s is None else self._voxel_s
        return per_million * weighted_voxels(geometry, plans) / 1e6


def setting_of(source_sha256: str, device: hardware.Device, precision: str, inference: InferenceSpec) -> str:
    """What seconds depend on beside the rank and the volume: the original model, the device, and how it is run."""
    threads = inference.threads or hardware.default_threads()
    return f"{source_sha256[:16]} {device.id} {device.name} {precision} {threads} {inference.batch_size}"


def weighted_voxels(geometry: Geometry, plans: ModelPlans) -> int:
    """Voxels of a volume, those on the model's grid weighted by what they take."""
    shape = grid_shape(geometry, plans, catalog.resampling_convention(plans.dataset_name))
    return math.prod(geometry.shape) + GRID_VOXEL_WEIGHT * math.prod(shape)


def measure_patch(ready: ReadyModel, inference: InferenceSpec, measurements: Measurements) -> None:
    """Run one patch (after one to warm up) and remember its seconds."""
    import torch

    plans = ready.model.plans
    patch = torch.zeros(1, plans.input_channels, *plans.patch_shape)
    with hardware.torch_threads(ready.threads), torch.inference_mode():
        ready.network.run(patch)
        started = time.perf_counter()
        ready.network.run(patch).flatten()[0].item()  # a GPU has finished when a number has come
        seconds = time.perf_counter() - started
    macs = ready.model.cost.macs * len(ready.model.folds)
    measurements.add_patch_seconds(_setting_of(ready, inference), macs, seconds)


def remember_run(
    result: SegmentationResult, ready: ReadyModel, inference: InferenceSpec, measurements: Measurements
) -> None:
    """Remember what a run took, so that the next one is foretold better."""
    statistics, setting = result.statistics, _setting_of(ready, inference)
    passes = statistics.macs_per_volume / statistics.macs_per_patch
    measurements.add_patch_seconds(setting, statistics.macs_per_patch, statistics.seconds["network"] / passes)
    beside_s = statistics.seconds["preprocess"] + statistics.seconds["finish"]
    weighted = weighted_voxels(result.geometry, ready.model.plans)
    measurements.add_voxel_seconds(setting, beside_s / weighted * 1e6)


def _setting_of(ready: ReadyModel, inference: InferenceSpec) -> str:
    return setting_of(ready.model.source_sha256, ready.device, ready.precision, inference)
