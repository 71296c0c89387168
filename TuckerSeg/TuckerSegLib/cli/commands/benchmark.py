"""``tuckerseg benchmark``: times this program against others."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...benchmark import BenchmarkSpec, run_benchmark


def benchmark(options: argparse.Namespace) -> None:
    """``tuckerseg benchmark``."""
    spec = BenchmarkSpec(options.task, spacing_mm=None) if options.one_volume else BenchmarkSpec(options.task)
    run_benchmark(options.volume, Path(options.out), options.totalsegmentator_python, options.runs, spec)
