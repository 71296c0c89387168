"""What a run will cost and save, before it: counted exactly where it can be, foretold where it must be.

Nothing is run here; the weights are not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .. import catalog, compression, hardware
from ..cache import Cache
from ..image import Geometry, Image
from ..models.calibration import calibration_stamp, wants_calibration
from ..models.compress import to_be_compressed
from ..models.decomposition import kept_evidence, rank_evidence
from ..models.job_compression import known_calibration, with_calibration
from ..models.model import SegmentationModel, require_original
from ..models.task import search_of
from ..preprocessing.preprocess import grid_shape, grid_voxels
from ..preprocessing.roi_finder import RegionFinder
from ..records.compression import Cost
from ..records.estimate import Estimate, PartEstimate
from ..records.job import DEFAULT_COMPRESSION, Job
from ..records.serialization import to_json
from ..sliding_window import StreamSpec, patch_count
from ..system_memory import system_memory_bytes
from .measurements import Measurements
from .memory import peak_memory_bytes
from .shipped_agreement import shipped_agreement
from .timing import ABOUT_COST, INTERPOLATED, SAME_COST, Timing, planned_setting

if TYPE_CHECKING:
    from ..compression.tucker.basis import RankEvidence

NOT_MEASURED = "not measured"
MODEL_BYTES = 4  # of a parameter, in the file of a model and in that of its compiled form in fp32; half in 16 bits


@dataclass(frozen=True)
class _Compressed:
    """What a compression makes of a model.

    Attributes:
        cost: Of one fold.
        key: Of the compressed model, see ``SegmentationModel.key``.
        agreement: With the original network, and on what it was measured before; None where it was not.
        about: Whether the ranks are yet to be settled, so that the cost is what they may cost at most, or nearly so.
        decomposed: Whether the weights are decomposed as a whole for it.
    """

    cost: Cost
    key: str
    agreement: tuple[float, str] | None
    about: bool = False
    decomposed: bool = False


class Estimator:
    """Estimates for one model; what is slow to count is counted once per compression.

    Args:
        model: As it is on disk, with its weights or without.
        measurements: What this computer was measured to need.
        cache: Where calibrations are; None takes the user's.
        load: Gives the model with its weights, for policies that look at them; None: it has them.
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
        self._structure: Any = None
        self._known: dict[str, _Compressed] = {}

    def estimate(self, volume: Geometry | Image, job: Job, regions: RegionFinder | None = None) -> Estimate:
        """Count and foretell a run.

        Args:
            volume: Or its geometry: then patches that a run will spare cannot be told from the others.
            job: Its model is this one; images and output are not looked at.
            regions: Which other networks of the run are estimated with; None makes one.

        Raises:
            SpecError: A setting out of its range, or the model is compressed already.
            BackendError: The device is not usable.
        """
        plans, folds, inference = self._model.plans, len(self._model.folds), job.inference.with_step()
        device, _ = hardware.choose(inference.device, hardware.devices())
        precision, _ = hardware.choose_precision(inference.precision, device)
        compressed = self._compressed(job)
        original = self._model.original_cost
        geometry = volume.geometry if isinstance(volume, Image) else volume
        patches, skipped = self._patches(volume, job, regions or RegionFinder(inference))
        passes = patches * (2 ** len(plans.mirror_axes) if inference.mirroring else 1)
        timing = Timing(self._measurements, planned_setting(plans, device, precision, inference))
        beside_s = timing.beside_network_seconds(geometry, plans)
        macs = {"original": original.macs * folds, "compressed": compressed.cost.macs * folds}
        about = ABOUT_COST if compressed.about else SAME_COST
        patch_s = {name: timing.patch_seconds(count, about) for name, count in macs.items()}
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
            notes=tuple(_notes(interpolated, device, compressed.about)),
            cache_bytes=self._cache_bytes(compressed, device, precision),
            patches_skipped=skipped,
            parts=(
                PartEstimate(
                    self._model.name,
                    patches,
                    compressed.cost.parameters * folds,
                    macs["compressed"] * passes,
                    seconds["compressed"],
                ),
            ),
        )

    def key_of(self, job: Job) -> str:
        """Of the network that a job runs, see ``SegmentationModel.key``."""
        return self._compressed(job).key

    def is_original(self, job: Job) -> bool:
        """Whether a job runs the network as it was trained."""
        return not self._model.recipes and self.key_of(job) == self._model.key

    def grid_voxels(self, geometry: Geometry) -> int:
        """Voxels of a volume on the model's grid."""
        return grid_voxels(geometry, self._model.plans)

    @property
    def weight_bytes(self) -> int:
        """Of the model as it is on disk."""
        return self._model.weight_bytes

    def _cache_bytes(self, compressed: _Compressed, device: hardware.Device, precision: str) -> int:
        """What a run would add: the compressed network, its decomposition, its compiled form."""
        parameters, cache, stored = compressed.cost.parameters * len(self._model.folds), self._cache, 0
        if not cache.path("models", compressed.key).exists():
            stored = parameters * MODEL_BYTES + compressed.decomposed * self._model.weight_bytes
        if device.backend == "openvino" and not cache.path("compiled", compressed.key).exists():
            stored += parameters * MODEL_BYTES // (1 if precision == "fp32" else 2)
        return stored

    def _patches(self, volume: Geometry | Image, job: Job, regions: RegionFinder) -> tuple[int, int | None]:
        """Patches to run and to spare; None where the latter is not known."""
        plans = self._model.plans
        convention = catalog.resampling_convention(plans.dataset_name)
        if isinstance(volume, Image) and search_of(job) is None:
            selection = regions.patches_of(volume, plans, convention)
            return len(selection.origins), selection.skipped
        geometry = volume.geometry if isinstance(volume, Image) else volume
        shape = grid_shape(geometry, plans, convention)
        count = patch_count(shape, StreamSpec(plans.patch_shape, job.inference.with_step().step_fraction))
        return count, None if search_of(job) or regions.may_skip(shape, plans) else 0

    def _compressed(self, job: Job) -> _Compressed:
        if job.method is None:
            return self._as_it_is()
        require_original(self._model)
        spec = compression.spec_of(job.method, job.compression)
        stamp = calibration_stamp(self._model, self._cache) if wants_calibration(spec) else None
        name = f"{job.method} {to_json(spec)} {job.calibrate} {stamp}"
        if self._known.get(name) is None or self._known[name].about:
            self._known[name] = self._planned(job.method, spec, job.calibrate)
        return self._known[name]

    def _as_it_is(self) -> _Compressed:
        model = self._model
        if not model.recipes:
            return _Compressed(model.cost, model.key, (1.0, "this is the original network"))
        recipe = model.recipes[-1]
        if recipe.spec.get("calibration") is None:
            return _Compressed(model.cost, model.key, None)
        fields = {name: value for name, value in recipe.spec.items() if name != "version"}
        return _Compressed(
            model.cost, model.key, self._shipped(recipe.method, compression.spec_of(recipe.method, fields))
        )

    def _planned(self, method: str, spec: Any, calibrate: str) -> _Compressed:
        """Plan the compression on the network's structure, and on what is known of its ranks already."""
        if self._structure is None:
            self._structure = self._model.structure()
        plans = self._model.plans
        spec, evidence = self._evidence(spec, calibrate)
        about = spec.looks_at_weights and evidence is None
        shown = replace(spec, rank_mode="relative", calibration=None, rank_multiple=1) if about else spec
        changes = compression.method(method).plan(
            self._structure, shown, plans.patch_shape, plans.input_channels, evidence
        )
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
        key = to_be_compressed(self._model, spec, method).key
        shipped = None if calibrate == "none" else self._shipped(method, spec)
        return _Compressed(cost, key, shipped, about, decomposed=not about and spec.calibration is None)

    def _evidence(self, spec: Any, calibrate: str) -> tuple[Any, RankEvidence | None]:
        """The spec with its calibration, and what the ranks are decided by, where finding out is quick."""
        if not wants_calibration(spec):
            return spec, rank_evidence(self._load(), spec, self._cache, None) if spec.looks_at_weights else None
        calibration = known_calibration(self._model, spec, calibrate, self._cache)
        if calibration is None:
            return spec, rank_evidence(self._load(), spec, self._cache, None) if calibrate == "none" else None
        spec = with_calibration(spec, calibration)
        return spec, kept_evidence(self._model, spec, self._cache, calibration)

    def _shipped(self, method: str, spec: Any) -> tuple[float, str] | None:
        """What was measured before; of the method's default policy only, calibrated."""
        default = type(spec)(spec.rank_ratio, **DEFAULT_COMPRESSION)
        if spec.rank_ratio >= 1 or replace(spec, calibration=None) != default:
            return None
        found = shipped_agreement(self._model, method, spec.rank_ratio, self._cache)
        return found and (found[0], f"measured on {found[1]}")

    def _agreement(self, compressed: _Compressed) -> tuple[float | None, str]:
        """The user's own measurement is nearer to the user's volumes than a shipped one."""
        own = self._measurements.agreement(compressed.key)
        if own is not None:
            return own[0], f"measured on {own[1]} with Compare ranks"
        return compressed.agreement or (None, NOT_MEASURED)


def _notes(interpolated: bool, device: hardware.Device, about: bool) -> Iterator[str]:
    if about:
        yield "Ranks are settled when the model is first calibrated; until then operations and parameters are bounds."
    if interpolated:
        yield INTERPOLATED
    if not device.id.endswith(":cpu"):
        yield "Memory is foretold from runs on processors; on this device it was not measured."


def _free_memory_bytes() -> int | None:
    """What this process may have in all: what is free, and what it holds already."""
    _, free = system_memory_bytes()
    return None if free is None else free + hardware.held_memory_bytes()
