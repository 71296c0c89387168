"""``tuckerseg compare``: the original network and several strengths of compression on one volume."""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path

from ...jobs.comparison import StrengthResult
from ...jobs.run import read_volume
from ...jobs.warm_runs import Runs
from ...models.resolved_job import resolve
from ...records.comparison import Variant
from ...records.serialization import to_json
from ...text_files import make_folder, write_text
from ..jobs_from_options import job_of, strengths_of
from ..output import say
from ..terminal import JsonReporter, TerminalReporter

SHOWN_STRUCTURES = 3
COMPARISON_TITLES = (
    f"{'strength':>8}{'M parameters':>14}{'GFLOPs':>10}{'network s':>11}{'total s':>9}{'agreement':>11}"
    "  worst structures"
)


def compare(options: argparse.Namespace) -> None:
    """``tuckerseg compare IN --ranks 0.85,0.7``: prints how the strengths compare, and keeps them with ``--out``.

    Raises:
        OutputError: The folder cannot be made or written.
    """
    folder = Path(options.out) if options.out else None
    strengths = strengths_of(options.ranks)
    job = job_of(options, strength=strengths[0])
    if folder is not None:
        make_folder(folder)
    resolved = resolve(job)
    volume = read_volume(resolved)
    reporter = JsonReporter() if options.json else TerminalReporter()
    documents, lines = [], []
    with contextlib.closing(reporter), contextlib.closing(Runs()) as runs:
        for row in runs.compare(
            resolved, volume, [Variant(each) for each in strengths], options.monitor.through(reporter), remember=True
        ):
            documents.append({**to_json(row.to_record()), "rank_ratio": row.strength})  # the name that scripts know
            lines.append(comparison_line(row))
            if folder is not None:
                row.result.save(str(folder / f"{_name(row.strength)}.seg.nrrd"))
            reporter({"event": "row", "row": documents[-1]})
    if folder is not None:
        write_text(folder / "comparison.json", json.dumps(documents, indent=1))
    if not options.json:
        say(COMPARISON_TITLES, *lines, "agreement: mean Dice against the original network")
        say(f"Written: {folder}" if folder else "Label maps are kept with --out DIR.")


def comparison_line(row: StrengthResult) -> str:
    """One strength as a line under ``COMPARISON_TITLES``."""
    statistics, record = row.result.statistics, row.to_record()
    agreement = "" if row.agreement is None else f"{row.agreement:.3f}"
    worst = ", ".join(f"{each.name} {each.dice:.2f}" for each in record.structures[:SHOWN_STRUCTURES])
    return (
        f"{row.strength:8.2f}{statistics.parameters / 1e6:14.3f}{statistics.macs_per_volume * 2e-9:10.1f}"
        f"{statistics.seconds['network']:11.2f}{record.seconds:9.2f}{agreement:>11}  {worst}"
    ).rstrip()


def _name(strength: float) -> str:
    return "original" if strength >= 1 else f"rank-{strength:g}"  # the name that scripts know
