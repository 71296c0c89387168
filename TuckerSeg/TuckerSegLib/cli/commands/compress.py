"""Sub-commands that make models and tell of them."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ... import compression
from ...cache import Cache
from ...errors import OutputError, SpecError
from ...image import Image, read_image
from ...jobs.progress import ProgressTracker
from ...models.calibration import calibrate_model, store_calibration, stored_calibration, volume_id
from ...models.job_compression import compress_for_job, planned_steps
from ...models.model import SegmentationModel
from ...models.resolved_job import resolve
from ...models.task import bring_networks, task_of
from ...records.compression import Cost
from ...records.job import DEFAULT_METHOD, Step
from ...records.serialization import to_json
from ...segmentation.prepared_task import prepare_task
from ...text_files import check_writable
from ..options import compression_job, model_job, model_of, steps_of, volume_of
from ..output import say, show_json
from ..terminal import TerminalReporter
from .models import bring

DEFAULT_MODEL = "demo"


def compress(options: argparse.Namespace) -> None:
    """``tuckerseg compress OUT --model M --rank R``; ``tuckerseg compress MODEL --rank R`` prepares the cache."""
    named = options.output
    if named is not None and (options.model is not None or Path(named).suffix == ".tuckerseg"):
        options.model = options.model or DEFAULT_MODEL
        _compress_to_file(options)
    else:
        options.model = options.model or named or DEFAULT_MODEL
        _compress_into_cache(options)


def _compress_to_file(options: argparse.Namespace) -> None:
    output = model_output(options.output)
    task = resolve(compression_job(options)).task
    if task is not None and len(task.parts) > 1:
        raise SpecError(
            f"{task.name} has {len(task.parts)} networks, and a file holds one. Leave {options.output} out: "
            f"'tuckerseg compress {task.name}' prepares all of them in the cache."
        )
    bring(options.model, options)
    model = model_of(options)
    model = compressed(options, model, volume_of(options))
    model.save(output)
    say(f"{model.name}: {cost_words(model)} (1 multiply-accumulate = 2 FLOPs)")
    tell_written(output)


def _compress_into_cache(options: argparse.Namespace) -> None:
    """Every network of a task is compressed and compiled, so that segmenting finds it ready."""
    resolved, cache = resolve(compression_job(options)), Cache()
    before = sum(entry.size_bytes for entry in cache.entries())
    with contextlib.closing(TerminalReporter()) as reporter:
        monitor = options.monitor.through(reporter)
        bring_networks(resolved, monitor)
        task = prepare_task(
            task_of(resolved, cache),
            resolved.inference,
            cache,
            monitor.through(ProgressTracker(reporter)),
            volume_of(options),
        )
        with contextlib.closing(task):
            for part in task:
                reporter.close()
                prepared = part.prepared_model
                say(f"{part.name}: {cost_words(prepared.model)} [{prepared.device.id}, {prepared.precision}]")
    added = sum(entry.size_bytes for entry in cache.entries()) - before
    count = "1 network" if task.count == 1 else f"{task.count} networks"
    say(f"{task.name}: {count} ready in {cache.folder}, {added / 1e6:.0f} MB more")


def cost_words(model: SegmentationModel) -> str:
    """What a compression made of a model."""
    before, after = model.original_cost, model.cost
    return (
        f"{before.parameters / 1e6:.3f} -> {after.parameters / 1e6:.3f} million parameters, "
        f"{before.macs * 2e-9:.2f} -> {after.macs * 2e-9:.2f} GFLOPs per patch"
    )


def calibrate(options: argparse.Namespace) -> None:
    """``tuckerseg calibrate CT...``: adds volumes to the calibration of a model, or of each network of a task."""
    resolved, cache = resolve(model_job(options)), Cache()
    for part in task_of(resolved, cache).parts:
        _calibrate(part.load(), options, cache)


def _calibrate(model: SegmentationModel, options: argparse.Namespace, cache: Cache) -> None:
    calibration = None if options.anew else stored_calibration(model, cache)
    for path in options.ct:
        volume = read_image(path, modality=model.plans.modalities)
        if calibration is not None and volume_id(volume) in calibration.volume_ids:
            say(f"{path}: is part of the calibration already")
            continue
        calibration = calibrate_model(model, volume, calibration, monitor=options.monitor)
        store_calibration(model, calibration, cache)
        say(f"{path}: calibrated")
    say(f"{model.name}: calibrated on {calibration.patches} patches of {', '.join(calibration.volumes)}")


def inspect(options: argparse.Namespace) -> None:
    """``tuckerseg inspect``: decides, but decomposes nothing."""
    model = model_of(options)
    recipes = [recipe for recipe in model.recipes if recipe.changes]  # a training has none
    applied = [recipe.method for recipe in recipes]
    steps = tuple(step for step in steps_of(options) if step.method not in applied)
    if not (steps or recipes):
        steps = (Step(DEFAULT_METHOD, strength=1.0),)
    resolved = resolve(replace(compression_job(options), steps=steps))
    recipes += [plan.recipe for plan in planned_steps(model, resolved, Cache())]
    changes = [(recipe.method, change) for recipe in recipes for change in recipe.changes]
    if options.json:
        show_json([{**to_json(change), **change.details} for _, change in changes])
        return
    say(f"{'layer':44}{'weight (as stored)':>22}{'becomes':>12}{'MMACs':>10}{'after':>10}  stays as it is because")
    for method, change in changes:
        words = compression.layer_words(method, change) or "as it is"
        shape = " ".join(map(str, change.shape))
        say(
            f"{change.path:44}{shape:>22}{words:>12}{change.before.macs / 1e6:10.1f}{change.after.macs / 1e6:10.1f}"
            f"  {change.skipped_because or ''}"
        )
    saved = sum((change.before - change.after for _, change in changes), Cost(0, 0))
    before = sum((change.before for change in recipes[0].changes), Cost(0, 0))
    after, patch_shape = before - saved, model.plans.patch_shape
    say(f"Convolutions: {before.macs / 1e9:.3f} -> {after.macs / 1e9:.3f} GMACs for one patch of {patch_shape}")
    say(f"              {before.parameters / 1e6:.6f} -> {after.parameters / 1e6:.6f} million parameters")


def compressed(
    options: argparse.Namespace, model: SegmentationModel, volume: Callable[[], Image] | None
) -> SegmentationModel:
    """A model compressed as the options ask, or as it is where they ask for nothing.

    Args:
        volume: See ``compress_for_job``.
    """
    return compress_for_job(model, resolve(compression_job(options)), Cache(), options.monitor.quiet(), volume)


def model_output(path: str) -> Path:
    """The file to write a model to.

    Raises:
        OutputError: It has another ending, or cannot be written.
    """
    if Path(path).suffix != ".tuckerseg":
        raise OutputError(f"{path}: a compressed model's file name ends in .tuckerseg.")
    check_writable(path)
    return Path(path)


def tell_written(output: Path) -> None:
    """Print where a model was written."""
    say(f"Written: {output} ({output.stat().st_size / 1e6:.1f} MB)")
