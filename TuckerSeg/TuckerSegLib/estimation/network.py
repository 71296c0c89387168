"""Estimates what a run of one network will cost and save: counted where counting can tell, else predicted.

Nothing is run here; the weights are not touched.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from .. import hardware
from ..cache import Cache
from ..compression import ALLOCATOR, spec_of
from ..image import Geometry, Image
from ..layer_times.gain import gain_notes
from ..measurements import Measurements
from ..models.architecture_key import whole_share
from ..models.calibration import calibration_stamp
from ..models.compression_step import known_calibration
from ..models.job_compression import require_new_methods
from ..models.material import kept_materials, prepare_folds
from ..models.model import SegmentationModel
from ..models.planning import plan_compression, with_calibration
from ..models.resolved_job import ResolvedJob
from ..preprocessing.preprocess import grid_shape, grid_voxels
from ..preprocessing.roi_finder import RoiFinder
from ..records.estimate import Estimate, PartEstimate
from ..records.serialization import to_json
from ..sliding_window import StreamSpec, patch_count
from ..system_memory import system_memory_bytes
from .compressed_facts import CompressedFacts, allocated_facts
from .first_use import here, usual_first_use_seconds, volumes_to_calibrate
from .memory import calibration_bytes, predicted_calibration_peak_bytes, predicted_peak_memory_bytes
from .shipped_agreement import shipped_agreement
from .timing import BOUND_COST_TOLERANCE, INTERPOLATED, SAME_COST_TOLERANCE, Timing, planned_setting

NOT_MEASURED = "not measured"


class Estimator:
    """Estimates runs of one model; compressions are planned once and remembered.

    Args:
        model: As it is on disk, with its weights or without.
        measurements: Times and agreements that were measured on this computer.
        cache: Where calibrations and materials are; None takes the user's.
        load: Gives the model with its weights, for policies that look at them; None: ``model`` has them.
    """

    def __init__(
        self,
        model: SegmentationModel,
        measurements: Measurements,
        cache: Cache | None = None,
        load: Callable[[], SegmentationModel] | None = None,
    ):
        self._model, self._measurements, self._cache = model, measurements, cache or Cache()
        self._load = load or (lambda: model)
        self._facts: dict[str, CompressedFacts] = {}

    def estimate(
        self, volume: Geometry | Image, resolved: ResolvedJob, roi_finder: RoiFinder | None = None
    ) -> Estimate:
        """Estimate a run: what it costs, what the compression saves, whether memory is enough.

        Args:
            volume: An image, or its geometry alone: then patches that a run will skip cannot be told from the others.
            resolved: The job; its compression and inference count, its model is this one.
            roi_finder: Shared by the estimates of a run's networks, so that the body is found once; None makes one.

        Raises:
            SpecError: A setting out of its range, or the model is compressed already by a method of the job.
            BackendError: The device is not usable.
        """
        plans, folds, inference = self._model.plans, len(self._model.folds), resolved.inference
        device, _ = hardware.choose(inference.device, hardware.devices())
        precision, _ = hardware.choose_precision(inference.precision, device)
        compressed = self._compressed(resolved, volume if isinstance(volume, Image) else None)
        original = self._model.original_cost
        geometry = volume.geometry if isinstance(volume, Image) else volume
        patches, skipped = self._patches(volume, resolved, roi_finder or RoiFinder(inference))
        passes = patches * (2 ** len(plans.mirror_axes) if inference.mirroring else 1)
        original_setting = planned_setting(plans, device, precision, inference)
        setting = planned_setting(plans, device, precision, inference, compressed.whole_share)
        timing = Timing(self._measurements, original_setting)
        timings = {"original": timing, "compressed": Timing(self._measurements, setting)}
        beside_s = timing.beside_network_seconds(geometry, plans)
        macs = {"original": original.macs * folds, "compressed": compressed.cost.macs * folds}
        tolerance = BOUND_COST_TOLERANCE if compressed.is_bound else SAME_COST_TOLERANCE
        patch_s = {name: timings[name].patch_seconds(count, tolerance) for name, count in macs.items()}
        if compressed.seconds_share is not None and patch_s["original"] is not None:
            patch_s["compressed"] = compressed.seconds_share * patch_s["original"]
        seconds = {name: None if one_s is None else one_s * passes + beside_s for name, one_s in patch_s.items()}
        interpolated = any(timings[name].interpolates(count) for name, count in macs.items())
        agreement, source = self._agreement(compressed)
        parameters, all_macs = compressed.cost.parameters * folds, macs["compressed"] * passes
        part = PartEstimate(self._model.name, patches, parameters, all_macs, seconds["compressed"])
        return Estimate(
            original_parameters=original.parameters * folds,
            parameters=parameters,
            original_macs_per_patch=macs["original"],
            macs_per_patch=macs["compressed"],
            patches=patches,
            original_macs_per_volume=macs["original"] * passes,
            macs_per_volume=all_macs,
            original_seconds=seconds["original"],
            seconds=seconds["compressed"],
            peak_memory_bytes=self._peak_memory_bytes(geometry, device, precision, resolved, compressed),
            free_memory_bytes=_free_memory_bytes(),
            agreement=agreement,
            agreement_source=source,
            device=device.id,
            precision=precision,
            notes=(
                *gain_notes(compressed.whole_share, device, self._measurements, precision),
                *_notes(interpolated, device, compressed.is_bound),
            ),
            cache_bytes=compressed.cache_bytes(self._model, device, precision, self._cache),
            patches_skipped=skipped,
            parts=(part,),
            first_use_seconds=self._first_use_seconds(resolved, compressed),
        )

    def key_of(self, resolved: ResolvedJob) -> str:
        """Key of the network that a job runs, see ``SegmentationModel.key``."""
        return self._compressed(resolved).key

    def is_original(self, resolved: ResolvedJob) -> bool:
        """Whether a job runs the network as it was trained."""
        return not self._model.recipes and self.key_of(resolved) == self._model.key

    def grid_voxels(self, geometry: Geometry) -> int:
        """Voxels of a volume on the model's grid."""
        return grid_voxels(geometry, self._model.plans)

    @property
    def logit_channels(self) -> int:
        """Classes that the network tells apart, or regions."""
        return self._model.plans.logit_channels

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights of the model as it is on disk."""
        return self._model.weight_bytes

    def _peak_memory_bytes(
        self,
        geometry: Geometry,
        device: hardware.Device,
        precision: str,
        resolved: ResolvedJob,
        compressed: CompressedFacts,
    ) -> int:
        """Of the run, and of the calibration before it where one is due."""
        run = (device, precision, resolved.inference, compressed.is_compiled(device, self._cache))
        running = predicted_peak_memory_bytes(self._model, geometry, *run)
        if not self._volumes_to_calibrate(resolved, compressed.is_bound):
            return running
        return max(running, predicted_calibration_peak_bytes(self._model, geometry, self._calibration_bytes))

    def _volumes_to_calibrate(self, resolved: ResolvedJob, is_bound: bool) -> int:
        return volumes_to_calibrate(self._model, resolved, self._cache, len(resolved.steps) > 1 and is_bound)

    def _first_use_seconds(self, resolved: ResolvedJob, compressed: CompressedFacts) -> float | None:
        """Of calibrating and compressing before the run; 0 where the compressed network is there, None: not known."""
        volumes = self._volumes_to_calibrate(resolved, compressed.is_bound)
        if not resolved.steps or compressed.key == self._model.key:
            return 0.0
        if not (volumes or compressed.is_bound) and os.path.exists(self._cache.path("models", compressed.key)):
            return 0.0
        methods = tuple(method for method, _ in resolved.steps)
        usual_s = usual_first_use_seconds(self._model, volumes, methods)
        return None if usual_s is None else here(usual_s, self._measurements)

    @functools.cached_property
    def _calibration_bytes(self) -> int:
        return calibration_bytes(self._model)

    def _patches(
        self, volume: Geometry | Image, resolved: ResolvedJob, roi_finder: RoiFinder
    ) -> tuple[int, int | None]:
        """Numbers of patches to run and to skip; None for the latter where it is not known."""
        plans = self._model.plans
        convention = plans.resampling_convention
        boxed = resolved.roi_search is not None
        if isinstance(volume, Image) and not boxed:
            selection = roi_finder.select_patches(volume, plans, convention)
            return len(selection.origins), selection.skipped
        geometry = volume.geometry if isinstance(volume, Image) else volume
        shape = grid_shape(geometry, plans, convention)
        count = patch_count(shape, StreamSpec(plans.patch_shape, resolved.inference.step_fraction))
        return count, None if boxed or roi_finder.may_skip(shape, plans) else 0

    def _compressed(self, resolved: ResolvedJob, image: Image | None = None) -> CompressedFacts:
        """Facts of the model that a job runs, remembered until its calibration changes."""
        steps, calibrate = resolved.steps, resolved.job.calibrate
        if not steps:
            return self._uncompressed()
        require_new_methods(self._model, resolved)
        if steps[0][0] == ALLOCATOR and steps[0][1].shrinks:
            return allocated_facts(self._model, resolved, image, self._cache)
        if steps[0][0] == ALLOCATOR:
            return self._uncompressed()
        stamp = (
            calibration_stamp(self._model, self._cache) if any(spec.needs_calibration for _, spec in steps) else None
        )
        name = f"{[(method, to_json(spec)) for method, spec in steps]} {calibrate} {stamp}"
        facts = self._facts.get(name)
        if facts is None or facts.is_bound or len(steps) > 1:  # the stamp is that of the first step's calibration
            self._facts[name] = self._planned(steps, calibrate)
        return self._facts[name]

    def _uncompressed(self) -> CompressedFacts:
        """Facts of the model as it is on disk, where a job does not compress it."""
        model = self._model
        if not model.recipes:
            return CompressedFacts(model.cost, model.key, (1.0, "this is the original network"))
        recipe, whole = model.recipes[0], whole_share(model.recipes, model.cost)
        if len(model.recipes) > 1 or recipe.spec.get("calibration") is None:
            return CompressedFacts(model.cost, model.key, None, whole_share=whole)
        fields = {name: value for name, value in recipe.spec.items() if name != "version"}
        shipped = self._shipped(recipe.method, spec_of(recipe.method, fields))
        return CompressedFacts(model.cost, model.key, shipped, whole_share=whole)

    def _planned(self, steps: Sequence[tuple[str, Any]], calibrate: str) -> CompressedFacts:
        """Plan each step on the model that the one before leaves, by bounds where planning exactly would be slow."""
        model, is_bound, share, changed = self._model, False, 0.0, []
        for method, spec in steps:
            spec, materials = self._materials(model, method, spec, calibrate)
            is_bound = is_bound or materials is None
            plan = plan_compression(model, spec, method, materials or (), bound=materials is None)
            if plan.changes_anything:
                model = plan.model
                share += getattr(spec, "material_share", 0.0)
                changed.append((method, spec))
        if not changed:
            return self._uncompressed()
        alone = len(model.recipes) == 1 and calibrate != "none"
        shipped = self._shipped(*changed[0]) if alone else None
        kept_share, whole = 0.0 if is_bound else share, whole_share(model.recipes, model.cost)
        return CompressedFacts(model.cost, model.key, shipped, is_bound, kept_share, whole)

    def _materials(
        self, model: SegmentationModel, method: str, spec: Any, calibrate: str
    ) -> tuple[Any, tuple[Any, ...] | None]:
        """The spec with its calibration named, and the materials to plan by; None where computing those is slow."""
        calibration = known_calibration(model, spec, calibrate, self._cache) if spec.needs_calibration else None
        spec = with_calibration(spec, calibration and calibration.sha256)
        if not spec.needs_weights:
            return spec, ()
        if getattr(spec, "needs_patches", False):
            return spec, None
        if calibration is None and model is self._model and (calibrate == "none" or not spec.needs_calibration):
            return spec, prepare_folds(self._load(), spec, method, self._cache, None)
        if calibration is None and spec.needs_calibration and calibrate != "none":
            return spec, None
        return spec, kept_materials(model, spec, method, self._cache, calibration)

    def _shipped(self, method: str, spec: Any) -> tuple[float, str] | None:
        """The shipped agreement of a compression; there are such of the method's default policy only."""
        strength = getattr(spec, "strength", None)
        if strength is None or strength >= 1:
            return None
        plain = replace(spec, calibration=None) if hasattr(spec, "calibration") else spec
        if plain != type(spec).at(strength):
            return None
        shipped = shipped_agreement(self._model, method, strength, self._cache)
        return shipped and (shipped[0], f"measured on {shipped[1]}")

    def _agreement(self, compressed: CompressedFacts) -> tuple[float | None, str]:
        """Agreement and its source: measured on the user's own volumes, else shipped."""
        own = self._measurements.agreement(compressed.key)
        if own is not None:
            return own[0], f"measured on {own[1]} with Compare strengths"
        return compressed.agreement or (None, NOT_MEASURED)


def _notes(interpolated: bool, device: hardware.Device, is_bound: bool) -> Iterator[str]:
    """What the user should know of an estimate."""
    if is_bound:
        yield "Layers are settled when the model is first calibrated; until then operations and parameters are bounds."
    if interpolated:
        yield INTERPOLATED
    if not device.id.endswith(":cpu"):
        yield "Memory is foretold from runs on processors; on this device it was not measured."


def _free_memory_bytes() -> int | None:
    """Bytes that this process may have in all: those that are free, and those that it holds already."""
    _, free = system_memory_bytes()
    return None if free is None else free + hardware.held_memory_bytes()
