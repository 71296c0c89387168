"""One strength of a comparison, as a record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .protocol import BoxFile
from .statistics import RunStatistics


@dataclass(frozen=True)
class StructureDice:
    """How well one structure agrees with the original network's."""

    name: str
    dice: float


@dataclass(frozen=True)
class ComparisonRow:
    """One strength of a comparison.

    Attributes:
        strength: Of the compression, in the method's own measure; 1 is the original network.
        agreement: Mean Dice against the original; None for the original itself.
        structures: Every structure that either found, the worst first.
        labels, differences: What it found, and a mask of where that differs from the original; None: nothing.
    """

    VERSION: ClassVar[int] = 2

    strength: float
    agreement: float | None
    structures: tuple[StructureDice, ...]
    labels: BoxFile | None
    differences: BoxFile | None
    statistics: RunStatistics

    @classmethod
    def upgraded(cls, document: dict[str, Any]) -> dict[str, Any]:
        """Version 1 had the strength under the name that it has for Tucker compression."""
        former = document.get("rank_ratio")
        return document if former is None else {"strength": former, **document}

    @property
    def seconds(self) -> float:
        """Of the work on the volume alone: loading and compiling are done once, and would blur the comparison."""
        return sum(self.statistics.seconds.get(stage, 0.0) for stage in ("preprocess", "network", "finish"))
