"""Records of a comparison of compressions of different strengths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .protocol import BoxFile
from .statistics import RunStatistics


@dataclass(frozen=True)
class StructureDice:
    """Dice of one structure against the original network's, 0 to 1."""

    name: str
    dice: float


@dataclass(frozen=True)
class Variant:
    """One compression of a comparison.

    Attributes:
        strength: Above 0 and below 1, in the method's own measure.
        policy: Name in ``compression.policies``, with ``+refit`` or without; None: as the job says.
    """

    VERSION: ClassVar[int] = 1

    strength: float
    policy: str | None = None


@dataclass(frozen=True)
class ComparisonRow:
    """The result of one strength in a comparison.

    Attributes:
        strength: Of the compression, in the method's own measure; 1 is the original network.
        agreement: Mean Dice against the original; None for the original itself.
        structures: Dice of every structure that this network or the original found, the lowest first.
        labels, differences: The labels, and a mask of the voxels whose labels differ from the original's; None where
            they are background alone.
        statistics: Of the run.
        policy: See :class:`Variant`; None for the original itself, too.
    """

    VERSION: ClassVar[int] = 2

    strength: float
    agreement: float | None
    structures: tuple[StructureDice, ...]
    labels: BoxFile | None
    differences: BoxFile | None
    statistics: RunStatistics
    policy: str | None = None

    @classmethod
    def upgraded(cls, document: dict[str, Any]) -> dict[str, Any]:
        """The JSON of this version from that of version 1, which had the strength under the name ``rank_ratio``."""
        former = document.get("rank_ratio")
        return document if former is None else {"strength": former, **document}

    @property
    def seconds(self) -> float:
        """Seconds of the work on the volume alone; loading and compiling are done once for many volumes."""
        return sum(self.statistics.seconds.get(stage, 0.0) for stage in ("preprocess", "network", "finish"))
