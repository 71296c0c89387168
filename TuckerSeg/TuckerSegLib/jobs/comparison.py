"""Several strengths of one compression on one volume, against the original network. No labels are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..evaluation.dice import dice_per_label, mean_dice
from ..records.comparison import ComparisonRow, StructureDice
from ..records.protocol import BoxFile
from ..segmentation.segment import SegmentationResult


@dataclass(frozen=True, eq=False)
class StrengthResult:
    """What one strength gave.

    Attributes:
        agreement: Mean Dice against the original over its structures of at least 20 voxels; None for the original,
            and where it found no such structure.
        dice: Dice of every structure that either found, by name.
        differs: Mask (Z, Y, X) of the voxels whose label is not the original's.
    """

    strength: float
    result: SegmentationResult
    agreement: float | None
    dice: dict[str, float]
    differs: np.ndarray

    def to_record(self, labels: BoxFile | None = None, differences: BoxFile | None = None) -> ComparisonRow:
        """The same without voxels, which may have gone to files."""
        worst_first = sorted(self.dice.items(), key=lambda item: item[1])
        structures = tuple(StructureDice(name, dice) for name, dice in worst_first)
        return ComparisonRow(self.strength, self.agreement, structures, labels, differences, self.result.statistics)


def compare(strengths: list[float], run: Callable[[float], SegmentationResult]) -> Iterator[StrengthResult]:
    """Run the original, then every strength; each comes when it is done.

    Args:
        strengths: Below 1.
        run: Segments the volume at a strength; 1 is the original.
    """
    original = run(1.0)
    yield StrengthResult(1.0, original, None, {}, np.zeros(original.labels.shape, dtype=bool))
    for strength in strengths:
        result = run(strength)
        agreement = mean_dice(result.labels, original.labels)
        dice = dice_per_label(result.labels, original.labels)
        names = {original.label_names[value]: score for value, score in dice.items()}
        differs = result.labels != original.labels
        yield StrengthResult(strength, result, None if np.isnan(agreement) else agreement, names, differs)
