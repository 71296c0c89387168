"""``tuckerseg plan``: what segmenting an image would cost and save, foretold."""

from __future__ import annotations

import argparse
import contextlib

from ...jobs.run import read_volume
from ...jobs.warm_runs import Runs
from ...models.resolved_job import resolve
from ...printable import one_line
from ...records.estimate import Estimate, PartEstimate
from ...records.serialization import to_json
from ..jobs_from_options import job_of
from ..output import say, show_json


def plan(options: argparse.Namespace) -> None:
    """``tuckerseg plan IN``."""
    resolved = resolve(job_of(options))
    volume = read_volume(resolved)
    with contextlib.closing(Runs()) as runs:
        estimate = runs.estimate(resolved, volume, options.measure, options.monitor)
    if options.json:
        show_json(to_json(estimate))
    else:
        say(*estimate_table(estimate).split("\n"))


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


def _pair(title: str, before: float | None, after: float | None) -> str:
    ratio = f"{before / after:.2f}x" if before and after else ""
    before, after = ("not measured" if each is None else f"{each:.2f}" for each in (before, after))
    return f"{title:24}{before:>14}{after:>14}{ratio:>9}"
