"""A repair in stages of falling rank: each is decomposed from what the one before has learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..cache import Cache
from ..errors import SpecError
from ..image import Image
from ..monitor import Monitor
from ..printable import shown
from ..training.distillation.settings import RepairRecord, RepairSettings
from .calibration import calibrate_model, store_calibration, stored_calibration, volume_id
from .dense_form import dense_form
from .distillation import repair_model
from .job_compression import compress_for_job
from .model import SegmentationModel
from .resolved_job import ResolvedJob

METHOD = "tucker"
MODES = ("auto", "relative", "energy")  # whose ranks follow a rank ratio


def repair_progressively(
    original: SegmentationModel,
    resolved: ResolvedJob,
    higher: Sequence[float],
    volumes: Sequence[Image],
    settings: RepairSettings,
    *,
    cache: Cache,
    state_folder: Path | None = None,
    threads: int | None = None,
    device: str = "cpu",
    monitor: Monitor | None = None,
) -> tuple[SegmentationModel, dict[str, RepairRecord]]:
    """Compress at falling ranks, with a repair of all steps at each; every stage learns the original's outputs.

    The first stage decomposes the original. Each later one decomposes the repaired network's layers, multiplied out,
    by a calibration of that network on the volumes that it was trained on: what its layers see are not the original's
    activations any more.

    Args:
        original: Whose outputs are learned.
        resolved: How the last stage is compressed: by Tucker decomposition alone, at a rank ratio. Other stages differ
            in that ratio.
        higher: Rank ratios of the stages before it, falling.
        volumes: See ``repair_model``.
        settings: Of every stage.
        cache: Keeps calibrations and compressed models.
        state_folder: A state file per stage and fold is kept there; stages that are finished are taken from theirs.
        threads, device, monitor: See ``repair_model``.

    Returns:
        The model of the last stage, whose last recipe has the others as ``stages``; and the last stage's records.

    Raises:
        SpecError: Another method, or ranks that do not fall; as ``repair_model``.
        ImageError: A volume does not fit the model.
        Cancelled: The monitor said so.
    """
    _require_falling(resolved, higher)
    monitor, jobs = monitor or Monitor(), [*map(resolved.at_strength, higher), resolved]
    model, stages = original, []
    for number, job in enumerate(jobs, start=1):
        rank = job.steps[0][1].strength
        monitor.log(f"Stage {number} of {len(jobs)}: rank {rank:g}.")
        if number > 1 and job.job.calibrate != "none":
            _calibrate(model, volumes, cache, threads, monitor)
        smaller = compress_for_job(model, job, cache, monitor.quiet(), lambda: volumes[0])
        model, records = repair_model(
            smaller,
            original,
            volumes,
            settings,
            state_folder=state_folder,
            threads=threads,
            device=device,
            monitor=monitor,
        )
        if number < len(jobs):
            stages.append(_stage(model, rank, records))
            model = dense_form(model, original)
    last = model.recipes[-1]
    recipes = (*model.recipes[:-1], replace(last, spec={**last.spec, "stages": stages}))
    return replace(model, recipes=recipes, weights=dict(model.weights)), records


def _calibrate(
    model: SegmentationModel, volumes: Sequence[Image], cache: Cache, threads: int | None, monitor: Monitor
) -> None:
    """Keep a calibration of a model on the volumes that are trained on, and the built-in ones, where none is kept."""
    calibration = stored_calibration(model, cache)
    for volume in volumes[:-1] or volumes:
        if calibration is None or volume_id(volume) not in calibration.volume_ids:
            calibration = calibrate_model(model, volume, calibration, threads, monitor.quiet())
            store_calibration(model, calibration, cache)


def _stage(model: SegmentationModel, rank: float, records: dict[str, RepairRecord]) -> dict[str, Any]:
    """What the recipe says of a stage: its rank and how its layers were compressed, and agreements by fold."""
    compression = next(recipe for recipe in reversed(model.recipes) if recipe.changes)
    agreement = {fold: [each.agreement[0], each.agreement[each.best_check]] for fold, each in records.items()}
    return {"method": compression.method, "rank": rank, "spec": compression.spec, "agreement": agreement}


def _require_falling(resolved: ResolvedJob, higher: Sequence[float]) -> None:
    """Raise SpecError where stages cannot be made of a compression and the ranks before its own."""
    methods = [method for method, _ in resolved.steps]
    if methods != [METHOD]:
        words = ",".join(methods) or "none"
        raise SpecError(f"A repair in stages goes with the method {METHOD} alone, as tucker:0.3; found {words}.")
    spec = resolved.steps[0][1]
    if spec.rank_mode not in MODES:
        raise SpecError(f"A repair in stages goes with ranks that follow a rank ratio; found {spec.rank_mode}.")
    ranks = [*higher, spec.strength]
    if any(not 0 < rank < 1 for rank in ranks) or any(one <= next_one for one, next_one in zip(ranks, ranks[1:])):
        words = " ".join(shown(rank) for rank in ranks)
        raise SpecError(
            f"The ranks of a repair in stages should fall, below 1 and above 0, as 0.7 0.5 0.3; found {words}."
        )
