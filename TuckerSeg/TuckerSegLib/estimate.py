"""What a run will cost and save, before it: counted, and foretold from what this computer was measured to need.

Nothing is run here but, on request, one patch.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np

from . import catalog, compression, hardware
from .image import Geometry
from .job import InferenceSpec
from .measurements import Measurements
from .model import SegmentationModel
from .predictor import accumulated_channels
from .preprocessing import grid_shape
from .protocol import Estimate
from .ready_model import ReadyModel
from .records import CompressionRecipe, Cost, to_json
from .sliding_window import StreamSpec, patch_count

_PROCESS_BYTES = 0.7e9  # torch and OpenVINO loaded; measured on Linux
_ACTIVATION_COPIES = 5  # of the first stage's features, alive at once in an encoder-decoder with skip connections
_VOXEL_SECONDS = 0.05  # per million voxels beside the network, where nothing is measured yet


class Estimator:
    """Estimates for one original model; what is slow to count is counted once per compression.

    Args:
        model: The original.
        measurements: What this computer was measured to need.
    """

    def __init__(self, model: SegmentationModel, measurements: Measurements):
        self._model, self._measurements = model, measurements
        self._structure: Any = None
        self._costs: dict[str, tuple[Cost, str]] = {}

    def estimate(
        self, geometry: Geometry, method: str | None, settings: dict[str, Any], inference: InferenceSpec
    ) -> Estimate:
        """Count and foretell a run.

        Args:
            geometry: Of the volume.
            method: Compression method; None for the original.
            settings: Fields of the method's ``Spec``.

        Raises:
            SpecError: A setting out of its range.
            BackendError: The device is not usable.
        """
        plans, folds = self._model.plans, len(self._model.folds)
        device, _ = hardware.choose(inference.device, hardware.devices())
        precision, _ = hardware.choose_precision(inference.precision, device)
        cost, key = self._cost(method, settings)
        original = self._model.original_cost
        shape = grid_shape(geometry, plans, catalog.resampling_convention(plans.dataset_name))
        patches = patch_count(shape, StreamSpec(plans.patch_shape, inference.step_fraction))
        runs = patches * folds * (2 ** len(plans.mirror_axes) if inference.mirroring else 1)
        foretold = _Foretold(self._measurements, setting_of(self._model, device, precision, inference), device.id)
        voxels = math.prod(geometry.shape)
        agreement, source = self._agreement(method, key)
        return Estimate(
            original_parameters=original.parameters * folds,
            parameters=cost.parameters * folds,
            original_macs_per_patch=original.macs * folds,
            macs_per_patch=cost.macs * folds,
            patches=patches,
            original_macs_per_volume=original.macs * runs,
            macs_per_volume=cost.macs * runs,
            original_seconds=foretold.seconds(original.macs * folds, runs // folds, voxels),
            seconds=foretold.seconds(cost.macs * folds, runs // folds, voxels),
            peak_memory_bytes=self._memory(voxels, shape, inference),
            free_memory_bytes=device.free_memory_bytes or 0,
            agreement=agreement,
            agreement_source=source,
            device=device.id,
            precision=precision,
            notes=foretold.notes,
        )

    def _cost(self, method: str | None, settings: dict[str, Any]) -> tuple[Cost, str]:
        """Cost of one fold at this compression, and the compressed model's key."""
        if method is None:
            return self._model.original_cost, self._model.key
        spec = compression.method(method).Spec(**settings)
        name = f"{method} {to_json(spec)}"
        if name not in self._costs:
            if self._structure is None:
                self._structure = self._model.structure()
            plans = self._model.plans
            changes = compression.method(method).plan(self._structure, spec, plans.patch_shape, plans.input_channels)
            total = self._model.original_cost
            for change in changes:
                total = Cost(
                    total.parameters + change.after.parameters - change.before.parameters,
                    total.macs + change.after.macs - change.before.macs,
                    total.norm_elements + change.after.norm_elements - change.before.norm_elements,
                )
            changed = any(change.skipped_because is None for change in changes)
            recipe = CompressionRecipe(method, to_json(spec), changes)
            compressed = replace(self._model, recipes=(recipe,)) if changed else self._model
            self._costs[name] = (total, compressed.key)
        return self._costs[name]

    def _agreement(self, method: str | None, key: str) -> tuple[float | None, str]:
        if method is None or key == self._model.key:
            return 1.0, "this is the original network"
        known = self._measurements.agreement(key)
        if known is not None:
            return known[0], f"measured on {known[1]}"
        return None, "not measured"

    def _memory(self, voxels: int, shape: tuple[int, int, int], inference: InferenceSpec) -> int:
        plans, model = self._model.plans, self._model
        features = accumulated_channels(model)
        patch = math.prod(plans.patch_shape) * inference.batch_size
        layer = min(2 * plans.patch_shape[0], shape[0]) * shape[1] * shape[2]
        stage = model.plans.architecture.kwargs["features_per_stage"][0]
        return round(
            _PROCESS_BYTES
            + 3 * model.weight_bytes
            + voxels * 3  # 16-bit image and 8-bit labels
            + math.prod(shape) * 4 * plans.input_channels
            + layer * features * 4
            + patch * stage * 4 * _ACTIVATION_COPIES
        )


class _Foretold:
    """Seconds from measurements of one setting, and what is to be said of them."""

    def __init__(self, measurements: Measurements, setting: str, device: str):
        self._patch = measurements.patch_seconds(setting)
        self._voxel = measurements.voxel_seconds(device)
        self._notes: dict[str, None] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self._notes)

    def seconds(self, macs_per_patch: int, runs: int, voxels: int) -> float | None:
        """Of a whole run; None where no patch of this cost, or of two costs around it, was measured."""
        patch = self._patch.get(macs_per_patch)
        if patch is None:
            patch = self._between(macs_per_patch)
        if patch is None:
            return None
        voxel = _VOXEL_SECONDS if self._voxel is None else self._voxel
        return patch * runs + voxel * voxels / 1e6

    def _between(self, macs_per_patch: int) -> float | None:
        costs = sorted(self._patch)
        if len(costs) < 2 or not costs[0] < macs_per_patch < costs[-1]:
            return None
        self._notes["The time is interpolated between ranks that were measured."] = None
        return float(np.interp(macs_per_patch, costs, [self._patch[cost] for cost in costs]))


def setting_of(model: SegmentationModel, device: hardware.Device, precision: str, inference: InferenceSpec) -> str:
    """What seconds per patch depend on beside the rank: the original, the device, how it is run."""
    threads = inference.threads or hardware.default_threads()
    return f"{model.source_sha256[:16]} {device.id} {device.name} {precision} {threads} {inference.batch_size}"


def measure_patch(ready: ReadyModel, inference: InferenceSpec, measurements: Measurements) -> float:
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
    measurements.add_patch_seconds(setting_of(ready.model, ready.device, ready.precision, inference), macs, seconds)
    return seconds
