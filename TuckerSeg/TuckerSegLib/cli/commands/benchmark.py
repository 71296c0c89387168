"""``tuckerseg benchmark``: times this program against others, or budgets of time against what they promise."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ...benchmark import BenchmarkSpec, run_benchmark
from ...errors import TuckerSegError
from ...records.serialization import from_json, to_json
from ...text_files import make_folder, read_json, write_text
from ..output import say, tell

if TYPE_CHECKING:
    from ...benchmark.budgets import BudgetRow


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
    precisions = None if options.precision == "auto" else [options.precision]
    known = _known_rows(folder / "budgets.json")
    for row in measure_budgets(folder, precisions, known=known, monitor=options.monitor):
        rows.append(row)
        tell(f"{row.network}, {row.precision}: {row.measured_seconds:.3f} s, predicted {row.predicted_seconds:.3f} s")
        write_text(folder / "budgets.json", json.dumps([to_json(each) for each in rows], indent=1))
    say(*as_table(rows).split("\n"))
    say(f"Written: {folder / 'budgets.json'}")


def _known_rows(path: Path) -> list[BudgetRow]:
    """The rows of an earlier run in the same folder; none where its file cannot be used."""
    from ...benchmark.budgets import BudgetRow

    try:
        return [from_json(BudgetRow, row) for row in read_json(path)]
    except (OSError, ValueError, TypeError, TuckerSegError):
        return []
