"""``tuckerseg plan``, ``compare`` and ``explore``: what a compression costs and saves, foretold and measured."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from .. import image
from ..analysis.accuracy_curve import Case, CurvePoint, measure_curve
from ..analysis.accuracy_plot import as_text, draw_curve
from ..cache import Cache
from ..jobs.comparison import StrengthResult
from ..jobs.run import read_volume
from ..jobs.warm_runs import Runs
from ..models.model import SegmentationModel
from ..models.resolved_job import resolve
from ..monitor import Monitor
from ..printable import one_line
from ..records.estimate import Estimate, PartEstimate
from ..records.job import InferenceSpec, Job
from ..records.serialization import to_json
from ..text_files import as_csv, make_folder, write_text
from ..training.distillation.settings import RepairSettings
from .output import say, show_json, tell
from .terminal import JsonReporter, TerminalReporter

SHOWN_STRUCTURES = 3


def plan(job: Job, measure: bool, as_json: bool, monitor: Monitor) -> None:
    """Print what a job would cost and save.

    Args:
        job: Its output is not looked at.
        measure: Run a patch where this computer's speed is not known.
        monitor: Asked whether the user wants no more.
    """
    resolved = resolve(job)
    volume = read_volume(resolved)
    with contextlib.closing(Runs()) as runs:
        estimate = runs.estimate(resolved, volume, measure, monitor)
    if as_json:
        show_json(to_json(estimate))
    else:
        say(*estimate_table(estimate).split("\n"))


def compare(job: Job, strengths: list[float], folder: Path | None, as_json: bool, monitor: Monitor) -> None:
    """Run the original and several strengths on one volume, and print how they compare.

    Args:
        job: Its output is not looked at, nor how far it compresses.
        strengths: Below 1.
        folder: Where a ``.seg.nrrd`` of every strength and ``comparison.json`` go; None keeps none.
        monitor: Asked whether the user wants no more.

    Raises:
        OutputError: The folder cannot be made or written.
    """
    if folder is not None:
        make_folder(folder)
    resolved = resolve(job)
    volume = read_volume(resolved)
    reporter = JsonReporter() if as_json else TerminalReporter()
    documents, lines = [], []
    with contextlib.closing(reporter), contextlib.closing(Runs()) as runs:
        for row in runs.compare(resolved, volume, strengths, monitor.through(reporter), remember=True):
            documents.append({**to_json(row.to_record()), "rank_ratio": row.strength})  # the name that scripts know
            lines.append(comparison_line(row))
            if folder is not None:
                row.result.save(str(folder / f"{_name(row.strength)}.seg.nrrd"))
            reporter({"event": "row", "row": documents[-1]})
    if folder is not None:
        write_text(folder / "comparison.json", json.dumps(documents, indent=1))
    if not as_json:
        say(COMPARISON_TITLES, *lines, "agreement: mean Dice against the original network")
        say(f"Written: {folder}" if folder else "Label maps are kept with --out DIR.")


def explore(
    model: SegmentationModel,
    cases: list[Case],
    factors: list[float],
    policies: list[str],
    inference: InferenceSpec,
    calibrate_on: image.Image | None,
    repair: RepairSettings,
    folder: Path,
    monitor: Monitor,
) -> None:
    """Measure agreement over factor and policy; print it, and write ``curve.csv``, ``curve.json``, ``curve.png``.

    Args:
        model: The original.
        cases: Volumes, with reference labels or without.
        factors: Below 1.
        policies: See ``measure_curve``.
        calibrate_on: None takes the first volume.
        repair: How a policy with ``+repair`` trains.
        monitor: Asked within and between runs whether to stop.

    Raises:
        OutputError: The folder cannot be made or written.
    """
    make_folder(folder)
    points = []
    for point in measure_curve(model, cases, factors, policies, inference, Cache(), calibrate_on, repair, monitor):
        points.append(point)
        tell(f"{point.volume}: {point.policy} {point.factor:.2f}, agreement {point.agreement:.3f}")
        write_text(folder / "curve.csv", as_csv(points, CurvePoint))  # what was measured stays, whatever comes
    write_text(folder / "curve.json", json.dumps([to_json(point) for point in points], indent=1))
    say(*as_text(points).split("\n"))
    try:
        draw_curve(points, folder / "curve.png")
    except ModuleNotFoundError:
        say("matplotlib is not installed, so no picture was drawn: pip install matplotlib")
    say(f"Written: {folder}")


def estimate_table(estimate: Estimate) -> str:
    """The record as text for a terminal."""
    e = estimate
    free_is_known = e.free_memory_bytes is not None
    free = f"{e.free_memory_bytes / 1e9:.1f} GB are free" if free_is_known else "free memory is not known"
    lines = [
        f"Device       {e.device}, {e.precision}",
        "",
        f"{'':24}{'original':>14}{'this run':>14}{'ratio':>9}",
        _pair("parameters, million", e.original_parameters / 1e6, e.parameters / 1e6),
        _pair("GFLOPs per patch", e.original_macs_per_patch * 2e-9, e.macs_per_patch * 2e-9),
        _pair(f"GFLOPs, {_patches(e)}", e.original_macs_per_volume * 2e-9, e.macs_per_volume * 2e-9),
        _pair("seconds, all warm", e.original_seconds, e.seconds),
        "(1 multiply-accumulate = 2 FLOPs; convolutions only)",
        "",
        f"Memory       {e.peak_memory_bytes / 1e9:.1f} GB at most; {free}" + ("" if e.fits else ": TOO LITTLE"),
        f"Disk         {e.cache_bytes / 1e6:.0f} MB more in the cache",
        f"Agreement    {'' if e.agreement is None else f'{e.agreement:.3f}, '}{e.agreement_source}",
    ]
    if len(e.parts) > 1:
        lines += [f"Part         {part_line(part)}" for part in e.parts]
    if e.patches_skipped:
        lines.append(f"Skipped      {e.patches_skipped} patches more, as nothing but air is in them")
    if e.seconds is None:
        lines.append("Note         Seconds are not known before a run here, or --measure.")
    lines += [f"Note         {note}" for note in e.notes]
    return "\n".join(map(one_line, lines))


def part_line(part: PartEstimate) -> str:
    """One network of an estimate as a line."""
    seconds = "not measured" if part.seconds is None else f"{part.seconds:.1f} s"
    return (
        f"{part.name}: {part.patches} patches, {part.parameters / 1e6:.2f} million parameters, "
        f"{part.macs_per_volume * 2e-9:.1f} GFLOPs, {seconds}"
    )


def _patches(estimate: Estimate) -> str:
    """How many patches will be run, as far as it is known."""
    return (
        f"{estimate.patches} patches" if estimate.patches_skipped is not None else f"up to {estimate.patches} patches"
    )


COMPARISON_TITLES = (
    f"{'strength':>8}{'M parameters':>14}{'GFLOPs':>10}{'network s':>11}{'total s':>9}{'agreement':>11}"
    "  worst structures"
)


def comparison_line(row: StrengthResult) -> str:
    """One strength as a line under ``COMPARISON_TITLES``."""
    statistics, record = row.result.statistics, row.to_record()
    agreement = "" if row.agreement is None else f"{row.agreement:.3f}"
    worst = ", ".join(f"{each.name} {each.dice:.2f}" for each in record.structures[:SHOWN_STRUCTURES])
    return (
        f"{row.strength:8.2f}{statistics.parameters / 1e6:14.3f}{statistics.macs_per_volume * 2e-9:10.1f}"
        f"{statistics.seconds['network']:11.2f}{record.seconds:9.2f}{agreement:>11}  {worst}"
    ).rstrip()


def _pair(title: str, before: float | None, after: float | None) -> str:
    ratio = f"{before / after:.2f}x" if before and after else ""
    before, after = ("not measured" if each is None else f"{each:.2f}" for each in (before, after))
    return f"{title:24}{before:>14}{after:>14}{ratio:>9}"


def _name(strength: float) -> str:
    return "original" if strength >= 1 else f"rank-{strength:g}"  # the name that scripts know
