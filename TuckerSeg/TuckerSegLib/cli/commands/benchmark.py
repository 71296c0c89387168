"""``tuckerseg benchmark``: times this program against others, or budgets of time against what they promise."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ...benchmark import BenchmarkSpec, run_benchmark
from ...records.serialization import to_json
from ...text_files import make_folder, write_text
from ..output import say, tell


def benchmark(options: argparse.Namespace) -> None:
    """``tuckerseg benchmark``."""
    if options.budgets:
        _budgets(options)
        return
    spec = BenchmarkSpec(options.task, spacing_mm=None) if options.one_volume else BenchmarkSpec(options.task)
    run_benchmark(options.volume, Path(options.out), options.totalsegmentator_python, options.runs, spec)


def _budgets(options: argparse.Namespace) -> None:
    from ...benchmark.budgets import as_table, measure_budgets

    folder, rows = make_folder(Path(options.out)), []
    for row in measure_budgets(folder, monitor=options.monitor):
        rows.append(row)
        tell(f"{row.network}, {row.precision}: {row.measured_seconds:.3f} s, predicted {row.predicted_seconds:.3f} s")
        write_text(folder / "budgets.json", json.dumps([to_json(each) for each in rows], indent=1))
    say(*as_table(rows).split("\n"))
    say(f"Written: {folder / 'budgets.json'}")
