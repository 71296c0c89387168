"""The statistics of a run, of each network and of all together, and the notes that the user should read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .. import hardware, image
from ..models.architecture_key import architecture_key, whole_share
from ..models.description import describe
from ..models.model import joint_key
from ..monitor import Monitor
from ..nnunet.plans import ModelPlans
from ..postprocessing.small_blobs import Removed
from ..preprocessing.preprocess import grid_voxels
from ..records.job import InferenceSpec
from ..records.statistics import PartStatistics, RunStatistics, Structure, versions
from .predictor import Prediction
from .prepared_task import PreparedPart


@dataclass(frozen=True)
class VolumeFacts:
    """Name and geometry of a volume, kept for the statistics when its voxels are no longer held."""

    source: str
    geometry: image.Geometry


@dataclass(frozen=True)
class PartRun:
    """The statistics of one network of a run, its weights' bytes, and where it ran; the network itself is not held."""

    statistics: PartStatistics
    original_model_bytes: int
    model_bytes: int
    device: hardware.Device
    reason: str
    precision: str
    threads: int

    @classmethod
    def from_prediction(
        cls,
        part: PreparedPart,
        facts: VolumeFacts,
        inference: InferenceSpec,
        prediction: Prediction,
        seconds: dict[str, float],
        structures: int,
    ) -> PartRun:
        """Count what a network did with the patches of a volume.

        Args:
            part: The network.
            facts: Of the volume that it saw.
            inference: How it ran.
            prediction: What it gave.
            seconds: Wall-clock seconds per stage that were spent on it.
            structures: Number of structures that it found.
        """
        prepared, model = part.prepared_model, part.prepared_model.model
        folds = len(model.folds)
        runs = prediction.patches * folds * (2 ** len(model.plans.mirror_axes) if inference.mirroring else 1)
        record = PartStatistics(
            name=part.name,
            key=model.key,
            architecture=architecture_key(model.plans, whole_share(model.recipes, model.cost)),
            source_sha256=model.source_sha256,
            compression=describe(model),
            grid_voxels=grid_voxels(facts.geometry, model.plans),
            original_parameters=model.original_cost.parameters * folds,
            parameters=model.cost.parameters * folds,
            original_macs_per_patch=model.original_cost.macs * folds,
            macs_per_patch=model.cost.macs * folds,
            original_macs_per_volume=model.original_cost.macs * runs,
            macs_per_volume=model.cost.macs * runs,
            patches=prediction.patches,
            patches_skipped=prediction.patches_skipped,
            seconds={stage: stage_s for stage, stage_s in seconds.items() if stage_s},
            structures=structures,
        )
        sizes = [cost.weight_bytes * folds for cost in (model.original_cost, model.cost)]
        return cls(record, *sizes, prepared.device, prepared.reason, prepared.precision, prepared.threads)


def statistics_of(
    name: str,
    runs: Sequence[PartRun],
    inference: InferenceSpec,
    facts: VolumeFacts,
    structures: tuple[Structure, ...],
    notes: Sequence[str],
    monitor: Monitor,
) -> RunStatistics:
    """The record of a whole run.

    Args:
        name: Of the model or the task.
        runs: Of all its networks, in their order; at least one.
        inference: How they ran, its step fraction settled.
        facts: Of the volume.
        structures: Those that were found.
        notes: What the user should know; repeated ones count once.
        monitor: With the seconds of all stages.
    """
    parts, first = tuple(run.statistics for run in runs), runs[0]
    return RunStatistics(
        model=name,
        source_sha256=joint_key([part.source_sha256 for part in parts]),
        compression=_compression(parts),
        volume=facts.source,
        volume_shape=facts.geometry.shape,
        volume_spacing_mm=tuple(round(float(spacing), 4) for spacing in facts.geometry.spacing_mm),
        original_parameters=sum(part.original_parameters for part in parts),
        parameters=sum(part.parameters for part in parts),
        original_macs_per_patch=sum(part.original_macs_per_patch for part in parts),
        macs_per_patch=sum(part.macs_per_patch for part in parts),
        original_macs_per_volume=sum(part.original_macs_per_volume for part in parts),
        macs_per_volume=sum(part.macs_per_volume for part in parts),
        original_model_bytes=sum(run.original_model_bytes for run in runs),
        model_bytes=sum(run.model_bytes for run in runs),
        patches=sum(part.patches for part in parts),
        patches_skipped=sum(part.patches_skipped for part in parts),
        voxels=math.prod(facts.geometry.shape),
        seconds=monitor.with_total(),
        peak_memory_bytes=hardware.peak_memory_bytes(),
        backend=first.device.backend,
        device=first.device.id,
        device_name=first.device.name,
        device_reason=first.reason,
        precision=first.precision,
        threads=first.threads,
        step_fraction=inference.step_fraction,
        mirroring=inference.mirroring,
        output_grid=inference.output_grid,
        versions=versions(),
        structures=structures,
        notes=tuple(dict.fromkeys(notes)),
        parts=parts,
    )


def limitation_notes(shape: Sequence[int], plans: ModelPlans, inference: InferenceSpec) -> Iterator[str]:
    """Notes on what of a request a model cannot do, or does badly.

    Args:
        shape: (Z, Y, X) of the image on the model's grid.
        plans: Of the model.
        inference: What was asked for.
    """
    if inference.mirroring and not plans.mirror_axes:
        yield "The model allows no mirroring, so none was done."
    if any(size < patch / 2 for size, patch in zip(shape, plans.patch_shape)):
        yield (
            f"On the model's grid the image has {tuple(shape)} voxels (Z Y X), less than half the network's patch "
            f"{plans.patch_shape} along an axis, and was padded as nnU-Net does; such small fields of view may be "
            "segmented badly."
        )


def nothing_found_note(facts: VolumeFacts, doubts: Sequence[str]) -> str:
    """The note that no structure was found, with its likely reason: the last of the doubts about image and settings."""
    extent = " x ".join(
        f"{size * spacing:.0f}" for size, spacing in zip(facts.geometry.shape, facts.geometry.spacing_mm)
    )
    reason = doubts[-1] if doubts else f"the volume of {extent} mm may show none of the model's structures."
    return f"No structures were found. Possible reason: {reason}"


def blobs_note(removed: Removed, largest_mm3: float, geometry: image.Geometry, names: Mapping[int, str]) -> str:
    """The note on a removal of small blobs.

    Args:
        removed: What was removed.
        largest_mm3: Volume up to which blobs were removed.
        geometry: Of the labels.
        names: Label value to name.
    """
    count, ml = sum(removed.blobs.values()), removed.voxels * geometry.voxel_volume_ml
    gone = f"; nothing is left of {', '.join(names[value] for value in removed.gone)}" if removed.gone else ""
    return (
        f"{count} blobs of up to {largest_mm3:g} mm3 were removed ({removed.blobs_before} blobs before, "
        f"{removed.blobs_before - count} after; {ml:.2f} ml of {len(removed.blobs)} structures){gone}."
    )


def _compression(parts: Sequence[PartStatistics]) -> str:
    """The compression of the networks of a run in words; said once where it is the same for all."""
    words = dict.fromkeys(part.compression for part in parts)
    if len(words) == 1:
        return next(iter(words))
    common = dict.fromkeys(part.compression.rpartition(",")[0] for part in parts)  # before the number of layers
    return next(iter(common)) if len(common) == 1 and next(iter(common)) else "each part in its own way"
