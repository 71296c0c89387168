"""Sub-commands that make models and tell of them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from .. import compression
from ..cache import Cache
from ..calibrating import calibrate_model, store_calibration, stored_calibration, volume_id
from ..command_options import compression_spec, folds_of
from ..compressing import compress_as_asked, planned_changes
from ..errors import OutputError
from ..image import Image, read_image
from ..job import Job
from ..loading import load_model
from ..model import SegmentationModel
from ..records import to_json
from ..run import stop_if
from ..stopwatch import Stopwatch
from ..text_files import check_writable


def compress(options: argparse.Namespace) -> None:
    """``tuckerseg compress OUT --model M --rank R``."""
    output = model_output(options.output)
    model = load_model(options.model, folds_of(options))
    model = compressed(options, model, (lambda: read_image(options.ct)) if options.ct else None)
    model.save(output)
    before, after = model.original_cost, model.cost
    print(f"{model.name}: {before.parameters / 1e6:.3f} -> {after.parameters / 1e6:.3f} million parameters")
    print(f"{before.macs * 2e-9:.2f} -> {after.macs * 2e-9:.2f} GFLOPs per patch (1 multiply-accumulate = 2 FLOPs)")
    tell_written(output)


def calibrate(options: argparse.Namespace) -> None:
    """``tuckerseg calibrate CT...``: adds volumes to a model's calibration."""
    model, cache = load_model(options.model, folds_of(options)), Cache()
    found = None if options.anew else stored_calibration(model, cache)
    for path in options.ct:
        volume = read_image(path)
        if found is not None and volume_id(volume) in found.volume_ids:
            print(f"{path}: is part of the calibration already")
            continue
        found = calibrate_model(model, volume, found, progress=lambda done: stop_if(options.stopped))
        store_calibration(model, found, cache)
        print(f"{path}: calibrated")
    print(f"{model.name}: calibrated on {found.patches} patches of {', '.join(found.volumes)}")


def inspect(options: argparse.Namespace) -> None:
    """``tuckerseg inspect``: decides, but decomposes nothing."""
    original = load_model(options.model, folds_of(options))
    if original.recipes:
        changes = tuple(change for recipe in original.recipes for change in recipe.changes)  # a training has none
    else:
        spec = compression.method("tucker").Spec(**(compression_spec(options) or {"rank_ratio": 1.0}))
        changes = planned_changes(original, spec, options.calibrate, Cache())
    if options.json:
        print(json.dumps([to_json(change) for change in changes], indent=1))
        return
    print(f"{'layer':44}{'weight (as stored)':>22}{'ranks':>12}{'MMACs':>10}{'after':>10}  stays dense because")
    for change in changes:
        ranks = "dense" if change.ranks is None else f"{change.ranks[0]} x {change.ranks[1]}"
        shape = " ".join(map(str, change.shape))
        print(
            f"{change.path:44}{shape:>22}{ranks:>12}{change.before.macs / 1e6:10.1f}{change.after.macs / 1e6:10.1f}"
            f"  {change.skipped_because or ''}"
        )
    before = sum(change.before.macs for change in changes), sum(change.before.parameters for change in changes)
    after = sum(change.after.macs for change in changes), sum(change.after.parameters for change in changes)
    patch_shape = original.plans.patch_shape
    print(f"Convolutions: {before[0] / 1e9:.3f} -> {after[0] / 1e9:.3f} GMACs for one patch of {patch_shape}")
    print(f"              {before[1] / 1e6:.6f} -> {after[1] / 1e6:.6f} million parameters")


def compressed(
    options: argparse.Namespace, model: SegmentationModel, volume: Callable[[], Image] | None
) -> SegmentationModel:
    """A model compressed as the options ask, or as it is where they ask for nothing.

    Args:
        volume: See ``compress_as_asked``.
    """
    spec = compression_spec(options)
    method = "tucker" if spec else None
    job = Job((), method=method, compression=spec or {}, calibrate=options.calibrate, refit=options.refit)
    return compress_as_asked(model, job, Cache(), Stopwatch(), volume, lambda: stop_if(options.stopped))


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
    print(f"Written: {output} ({output.stat().st_size / 1e6:.1f} MB)")
