"""What a run will cost and save, before it: counted exactly where it can be, foretold where it must be.

Nothing is run here; the weights are not touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from . import catalog, compression, hardware
from .image import Geometry
from .job import Job
from .loading import require_original
from .measurements import Measurements
from .memory_estimate import peak_memory_bytes
from .model import SegmentationModel
from .preprocessing import grid_shape
from .protocol import Estimate
from .records import CompressionRecipe, Cost, to_json
from .sliding_window import StreamSpec, patch_count
from .timing import INTERPOLATED, Timing, setting_of

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class _Compressed:
    """What a compression makes of a model.

    Attributes:
        cost: Of one fold.
        key: Of the compressed model, see ``SegmentationModel.key``.
        agreement: With the original network, and on what it was measured before; None where it was not.
    """

    cost: Cost
    key: str
    agreement: tuple[float, str] | None


class Estimator:
    """Estimates for one model; what is slow to count is counted once per compression.

    Args:
        model: As it is on disk.
        measurements: What this computer was measured to need.
    """

    def __init__(self, model: SegmentationModel, measurements: Measurements):
        self._model, self._measurements = model, measurements
        self._structure: Any = None
        self._known: dict[str, _Compressed] = {}

    def estimate(self, geometry: Geometry, job: Job) -> Estimate:
        """Count and foretell a run.

        Args:
            geometry: Of the volume. Where nnU-Net would crop empty borders away, there are fewer patches than told.
            job: Its model is this one; images and output are not looked at.

        Raises:
            SpecError: A setting out of its range, or the model is compressed already.
            BackendError: The device is not usable.
        """
        plans, folds, inference = self._model.plans, len(self._model.folds), job.inference
        device, _ = hardware.choose(inference.device, hardware.devices())
        precision, _ = hardware.choose_precision(inference.precision, device)
        compressed = self._compressed(job.method, job.compression)
        original = self._model.original_cost
        shape = grid_shape(geometry, plans, catalog.resampling_convention(plans.dataset_name))
        patches = patch_count(shape, StreamSpec(plans.patch_shape, inference.step_fraction))
        passes = patches * (2 ** len(plans.mirror_axes) if inference.mirroring else 1)
        timing = Timing(self._measurements, setting_of(self._model.source_sha256, device, precision, inference))
        beside_s = timing.beside_network_seconds(geometry, plans)
        macs = {"original": original.macs * folds, "compressed": compressed.cost.macs * folds}
        patch_s = {name: timing.patch_seconds(count) for name, count in macs.items()}
        seconds = {name: None if each is None else each * passes + beside_s for name, each in patch_s.items()}
        interpolated = any(timing.interpolates(count) for count in macs.values())
        agreement, source = self._agreement(compressed)
        return Estimate(
            original_parameters=original.parameters * folds,
            parameters=compressed.cost.parameters * folds,
            original_macs_per_patch=macs["original"],
            macs_per_patch=macs["compressed"],
            patches=patches,
            original_macs_per_volume=macs["original"] * passes,
            macs_per_volume=macs["compressed"] * passes,
            original_seconds=seconds["original"],
            seconds=seconds["compressed"],
            peak_memory_bytes=peak_memory_bytes(self._model, geometry, device, precision, inference),
            free_memory_bytes=_free_memory_bytes(),
            agreement=agreement,
            agreement_source=source,
            device=device.id,
            precision=precision,
            notes=tuple(_notes(interpolated, device)),
        )

    def _compressed(self, method: str | None, settings: dict[str, Any]) -> _Compressed:
        if method is None:
            return self._as_it_is()
        require_original(self._model)
        spec = compression.method(method).Spec(**settings)
        name = f"{method} {to_json(spec)}"
        if name not in self._known:
            self._known[name] = self._planned(method, spec)
        return self._known[name]

    def _as_it_is(self) -> _Compressed:
        model = self._model
        if not model.recipes:
            return _Compressed(model.cost, model.key, (1.0, "this is the original network"))
        recipe = model.recipes[-1]
        fields = {name: value for name, value in recipe.spec.items() if name != "version"}
        return _Compressed(
            model.cost, model.key, self._shipped(recipe.method, compression.method(recipe.method).Spec(**fields))
        )

    def _planned(self, method: str, spec: Any) -> _Compressed:
        """Plan the compression on the network's structure alone."""
        if self._structure is None:
            self._structure = self._model.structure()
        plans = self._model.plans
        changes = compression.method(method).plan(self._structure, spec, plans.patch_shape, plans.input_channels)
        if all(change.skipped_because is not None for change in changes):
            return self._as_it_is()
        cost = self._model.original_cost
        for change in changes:
            before, after = change.before, change.after
            cost = Cost(
                cost.parameters + after.parameters - before.parameters,
                cost.macs + after.macs - before.macs,
                cost.norm_elements + after.norm_elements - before.norm_elements,
            )
        recipe = CompressionRecipe(method, to_json(spec), changes)
        key = replace(self._model, recipes=(recipe,)).key
        return _Compressed(cost, key, self._shipped(method, spec))

    def _shipped(self, method: str, spec: Any) -> tuple[float, str] | None:
        """What was measured before; of the method's default policy only."""
        if spec != type(spec)(rank_ratio=spec.rank_ratio):
            return None
        found = catalog.shipped_agreement(self._model.source_sha256, method, spec.rank_ratio)
        return found and (found[0], f"measured on {found[1]}")

    def _agreement(self, compressed: _Compressed) -> tuple[float | None, str]:
        """The user's own measurement is nearer to the user's volumes than a shipped one."""
        own = self._measurements.agreement(compressed.key)
        if own is not None:
            return own[0], f"measured on {own[1]} with Compare ranks"
        return compressed.agreement or (None, NOT_MEASURED)


def _notes(interpolated: bool, device: hardware.Device) -> Iterator[str]:
    if interpolated:
        yield INTERPOLATED
    if not device.id.endswith(":cpu"):
        yield "Memory is foretold from runs on processors; on this device it was not measured."


def _free_memory_bytes() -> int | None:
    """What this process may have in all: what is free, and what it holds already."""
    _, free = hardware.system_memory_bytes()
    return None if free is None else free + hardware.held_memory_bytes()
