"""One rank of a comparison, as a record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .protocol import BoxFile
from .statistics import RunStatistics


@dataclass(frozen=True)
class StructureDice:
    """How well one structure agrees with the original network's."""

    name: str
    dice: float


@dataclass(frozen=True)
class ComparisonRow:
    """One rank of a comparison.

    Attributes:
        agreement: Mean Dice against the original; None for the original itself.
        structures: Every structure that either found, the worst first.
        labels, differences: What it found, and a mask of where that differs from the original; None: nothing.
    """

    VERSION: ClassVar[int] = 1

    rank_ratio: float
    agreement: float | None
    structures: tuple[StructureDice, ...]
    labels: BoxFile | None
    differences: BoxFile | None
    statistics: RunStatistics

    @property
    def seconds(self) -> float:
        """Of the work on the volume alone: loading and compiling are done once, and would blur the comparison."""
        return sum(self.statistics.seconds.get(stage, 0.0) for stage in ("preprocess", "network", "finish"))
