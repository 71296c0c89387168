"""Several compressions on one volume, against the original network. No labels are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..evaluation.dice import dice_per_label, mean_dice
from ..records.comparison import ComparisonRow, StructureDice, Variant
from ..records.protocol import BoxFile
from ..segmentation.segment import SegmentationResult


@dataclass(frozen=True, eq=False)
class StrengthResult:
    """What one compression gave.

    Attributes:
        agreement: Mean Dice against the original over its structures of at least 20 voxels; None for the original,
            and where it found no such structure.
        dice: Dice of every structure that either found, by name.
        differs: Mask (Z, Y, X) of the voxels whose label is not the original's.
        policy: See ``Variant``.
    """

    strength: float
    result: SegmentationResult
    agreement: float | None
    dice: dict[str, float]
    differs: np.ndarray
    policy: str | None = None

    def to_record(self, labels: BoxFile | None = None, differences: BoxFile | None = None) -> ComparisonRow:
        """The same without voxels, which may have gone to files."""
        worst_first = sorted(self.dice.items(), key=lambda item: item[1])
        structures = tuple(StructureDice(name, dice) for name, dice in worst_first)
        return ComparisonRow(
            self.strength, self.agreement, structures, labels, differences, self.result.statistics, self.policy
        )


def compare(
    variants: Sequence[Variant],
    run: Callable[[Variant | None], SegmentationResult],
    original: np.ndarray | None = None,
) -> Iterator[StrengthResult]:
    """Run the original, then every variant; each comes when it is done.

    Args:
        variants: The compressions.
        run: Segments the volume as a variant says; None is the original.
        original: Labels (Z, Y, X) of the original from a comparison before, which is not run then, and does not come.
    """
    if original is None:
        result = run(None)
        original = result.labels
        yield StrengthResult(1.0, result, None, {}, np.zeros(original.shape, dtype=bool))
    for variant in variants:
        result = run(variant)
        agreement = mean_dice(result.labels, original)
        dice = dice_per_label(result.labels, original)
        names = {result.label_names[value]: score for value, score in dice.items()}
        agreement = None if np.isnan(agreement) else agreement
        yield StrengthResult(variant.strength, result, agreement, names, result.labels != original, variant.policy)
