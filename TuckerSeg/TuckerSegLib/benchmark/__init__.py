"""Time and memory of the same volumes and weights in TuckerSeg, nnU-Net and TotalSegmentator, in one run.

Nothing here is imported before it is used: ``run_benchmark`` and ``BenchmarkSpec`` are in ``bench.py``.
"""

from __future__ import annotations

from typing import Any

__all__ = ["BenchmarkSpec", "run_benchmark"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from . import bench

        return getattr(bench, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
