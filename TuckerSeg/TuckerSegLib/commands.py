"""What each sub-command of ``tuckerseg`` does with its arguments."""

from __future__ import annotations

import argparse
import functools
import json
from pathlib import Path
from typing import Any

from . import catalog, compression, hardware
from .cache import Cache
from .calibrating import calibrate_model, store_calibration, stored_calibration, volume_id
from .command_options import cases_of, compression_spec, folds_of, inference_of, job_of, rank_ratios_of
from .compressing import compress_as_asked, planned_changes
from .errors import OutputError
from .image import read_image
from .job import Job
from .loading import load_model
from .records import to_json
from .run import stop_if
from .segmentation import Stopwatch
from .statistics import as_table, structure_table
from .terminal import JsonReporter, TerminalReporter
from .text_files import check_writable, write_text

SHOWN_STRUCTURES = 15


def segment(options: argparse.Namespace) -> None:
    """``tuckerseg segment IN OUT``."""
    from .run import run_job

    job = job_of(options, options.output)
    if options.stats:
        check_writable(options.stats)
    reporter = JsonReporter() if options.json else TerminalReporter()
    try:
        result = run_job(job, reporter, options.stopped)
    finally:
        reporter.close()
    document = to_json(result.statistics)
    if options.stats:
        write_text(options.stats, json.dumps(document, indent=1))
    if options.json:
        reporter({"event": "result", "output": options.output, "statistics": document})
    else:
        print(as_table(result.statistics))
        print(structure_table(result.statistics, most=SHOWN_STRUCTURES))
        print(f"Written: {options.output}")


def plan(options: argparse.Namespace) -> None:
    """``tuckerseg plan IN``."""
    from . import exploring

    exploring.plan(job_of(options), options.measure, options.json, options.stopped)


def compare(options: argparse.Namespace) -> None:
    """``tuckerseg compare IN --ranks 0.85,0.7``."""
    from . import exploring

    folder = Path(options.out) if options.out else None
    exploring.compare(job_of(options), rank_ratios_of(options.ranks), folder, options.json, options.stopped)


def explore(options: argparse.Namespace) -> None:
    """``tuckerseg explore CT... --factors 0.7,0.5 --policies paper,auto --out DIR``."""
    from . import exploring

    volumes = [read_image(path) for path in options.ct]
    references = [read_image(path) for path in options.reference]
    cases = cases_of(volumes, references)
    exploring.explore(
        load_model(options.model, folds_of(options)),
        cases,
        rank_ratios_of(options.factors),
        [name.strip() for name in options.policies.split(",")],
        inference_of(options),
        read_image(options.calibrate_on) if options.calibrate_on else None,
        Path(options.out),
        lambda: stop_if(options.stopped),
    )


def evaluate(options: argparse.Namespace) -> None:
    """``tuckerseg evaluate PRED REF --out CSV``."""
    from . import evaluating

    spec = evaluating.EvaluationSpec(options.tolerance_mm, options.minimum_voxels, options.labels)
    evaluating.report(Path(options.prediction), Path(options.reference), spec, options.out, options.json)


def compress(options: argparse.Namespace) -> None:
    """``tuckerseg compress OUT --model M --rank R``."""
    output = _model_output(options.output)
    model = load_model(options.model, folds_of(options))
    job = Job(images=(), calibrate=options.calibrate, **_asked(options))
    volume = (lambda: read_image(options.ct)) if options.ct else None
    model = compress_as_asked(model, job, Cache(), Stopwatch(), volume, lambda: stop_if(options.stopped))
    model.save(output)
    before, after = model.original_cost, model.cost
    print(f"{model.name}: {before.parameters / 1e6:.3f} -> {after.parameters / 1e6:.3f} million parameters")
    print(f"{before.macs * 2e-9:.2f} -> {after.macs * 2e-9:.2f} GFLOPs per patch (1 multiply-accumulate = 2 FLOPs)")
    print(f"Written: {output} ({output.stat().st_size / 1e6:.1f} MB)")


def inspect(options: argparse.Namespace) -> None:
    """``tuckerseg inspect``: decides, but decomposes nothing."""
    original = load_model(options.model, folds_of(options))
    if original.recipes:
        changes = original.recipes[-1].changes
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


def repair(options: argparse.Namespace) -> None:
    """``tuckerseg repair OUT --ct CT... --rank R``."""
    from .model_repair import repair_model
    from .repairing.settings import RepairSettings

    output = _model_output(options.output)
    settings = RepairSettings(options.steps, options.learning_rate, seed=options.seed)
    original, volumes = load_model(options.model, folds_of(options)), [read_image(path) for path in options.ct]
    job = Job(images=(), calibrate=options.calibrate, **_asked(options))
    stop = functools.partial(stop_if, options.stopped)
    smaller = compress_as_asked(original, job, Cache(), Stopwatch(), lambda: volumes[0], stop)
    reporter = TerminalReporter()
    try:
        repaired, records = repair_model(
            smaller,
            original,
            volumes,
            settings,
            state_folder=output.absolute().parent if options.resume else None,
            threads=options.threads,
            on_event=reporter,
            cancelled=options.stopped,
        )
    finally:
        reporter.close()
    repaired.save(output)
    for fold, record in records.items():
        kept = record.agreement[record.best_check]
        print(f"fold {fold}: agreement on held-back crops {record.agreement[0]:.3f} -> {kept:.3f}")
    print(f"Written: {output} ({output.stat().st_size / 1e6:.1f} MB)")


def devices(options: argparse.Namespace) -> None:
    """``tuckerseg devices``."""
    found = hardware.devices()
    if options.json:
        print(json.dumps([to_json(device) for device in found], indent=1))
        return
    for device in found:
        state = "usable  " if device.usable else "unusable"
        print(f"{device.id:14} {state} {device.name}")
        print(f"{'':14} {device.offers if device.usable else device.reason}")
    chosen, why = hardware.choose("auto", found)
    print(f"auto takes {chosen.id}: {why}")


def models(options: argparse.Namespace) -> None:
    """``tuckerseg models``."""
    known = catalog.known_models()
    if options.json:
        print(json.dumps([{**to_json(model), "path": str(model.path)} for model in known], indent=1))
        return
    for model in known:
        print(f"{model.name:16} {model.title}\n{'':16} {model.note}\n{'':16} {model.path}")
    print("Any nnU-Net v2 3D results folder or zip, or .tuckerseg file, can be given by its path: --model PATH")


def cache(options: argparse.Namespace) -> None:
    """``tuckerseg cache [list|clear|folder]``."""
    store = Cache()
    if options.action == "folder":
        print(store.folder)
        return
    if options.action == "clear":
        print(f"Freed {store.clear() / 1e6:.1f} MB in {store.folder}")
        return
    entries = store.entries()
    if options.json:
        print(json.dumps([{**to_json(entry), "path": str(entry.path)} for entry in entries], indent=1))
        return
    for entry in entries:
        print(f"{entry.size_bytes / 1e6:9.1f} MB  {entry.kind:9} {entry.key}")
    total = sum(entry.size_bytes for entry in entries)
    print(f"{total / 1e6:9.1f} MB of {store.limit_bytes / 1e6:.0f} MB in {store.folder}")


def demo(options: argparse.Namespace) -> None:
    """``tuckerseg demo``."""
    from .demo import run_demo

    run_demo(Path(options.out), options.rank)


def benchmark(options: argparse.Namespace) -> None:
    """``tuckerseg benchmark``."""
    from . import benchmark as module

    module.run_benchmark(options.volume, Path(options.out), options.totalsegmentator_python, options.runs)


def _asked(options: argparse.Namespace) -> dict[str, Any]:
    """``method`` and ``compression`` of a job."""
    spec = compression_spec(options)
    return {"method": "tucker" if spec else None, "compression": spec or {}}


def _model_output(path: str) -> Path:
    if Path(path).suffix != ".tuckerseg":
        raise OutputError(f"{path}: a compressed model's file name ends in .tuckerseg.")
    check_writable(path)
    return Path(path)
