"""Overlap of two label maps: voxel counts and Dice per structure, and their means over cases."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

MINIMUM_VOXELS = 20


@dataclass(frozen=True, eq=False)
class Overlap:
    """Voxel counts of every label in two label maps.

    Attributes:
        predicted, reference: Voxels with each label in the prediction and in the reference, (values,) int64, by label
            value.
        common: Voxels that have the label in both maps at the same place.
    """

    predicted: np.ndarray
    reference: np.ndarray
    common: np.ndarray

    def dice(self) -> dict[int, float]:
        """Dice of every label (but 0) that is in either map, 2|A∩B| / (|A|+|B|)."""
        sums = self.predicted + self.reference
        return {value: float(2 * self.common[value] / sums[value]) for value in range(1, len(sums)) if sums[value]}


@dataclass(frozen=True)
class StructureScore:
    """Agreement of one structure in one case.

    Attributes:
        case: The case's name.
        value, name: The structure's label value and name.
        reference_voxels, predicted_voxels: Its voxels in either map.
        dice, nsd: Dice and normalized surface Dice, 0 to 1.
    """

    case: str
    value: int
    name: str
    reference_voxels: int
    predicted_voxels: int
    dice: float
    nsd: float


@dataclass(frozen=True)
class StructureMean:
    """Mean agreement of one structure over all cases.

    Attributes:
        value: Its label value in the first case; segmentations of 3D Slicer may number it differently in each.
        name: Its name.
        cases: Number of cases whose reference has the structure; only these count.
        cases_without: Number of cases that predict it although their reference does not have it.
        dice, nsd: Means over the cases that count; None where none does.
    """

    value: int
    name: str
    cases: int
    cases_without: int
    dice: float | None
    nsd: float | None


def overlap(labels: np.ndarray, reference: np.ndarray) -> Overlap:
    """Count the voxels of every label in two maps, and those that agree.

    Args:
        labels, reference: (Z, Y, X), small non-negative integers.
    """
    count = int(max(labels.max(), reference.max())) + 1
    predicted, expected, common = (np.zeros(count, dtype=np.int64) for _ in range(3))
    for first, second in zip(labels, reference, strict=True):
        predicted += np.bincount(first.ravel(), minlength=count)
        expected += np.bincount(second.ravel(), minlength=count)
        common += np.bincount(first[first == second], minlength=count)
    return Overlap(predicted, expected, common)


def dice_per_label(labels: np.ndarray, reference: np.ndarray) -> dict[int, float]:
    """Dice of every label (but 0) that is in either map.

    Args:
        labels, reference: (Z, Y, X), small non-negative integers.

    Returns:
        Label value to Dice, 2|A∩B| / (|A|+|B|).
    """
    return overlap(labels, reference).dice()


def mean_dice(labels: np.ndarray, reference: np.ndarray, minimum_voxels: int = MINIMUM_VOXELS) -> float:
    """Mean Dice over structures of at least ``minimum_voxels`` voxels in the reference; nan where there are none.

    Args:
        labels: (Z, Y, X), whole numbers; 0 is background and does not count.
        reference: Of the same shape; its structures are those that count.
        minimum_voxels: Smaller structures of the reference are left out.
    """
    counts = overlap(labels, reference)
    counted = [dice for value, dice in counts.dice().items() if counts.reference[value] >= minimum_voxels]
    return float(np.mean(counted)) if counted else float("nan")


def means_over_cases(scores: Iterable[StructureScore], minimum_voxels: int) -> tuple[StructureMean, ...]:
    """Mean scores of every structure over the cases whose reference has it.

    Args:
        scores: Of all cases; structures are grouped by name.
        minimum_voxels: A case counts where its reference has at least so many voxels of the structure, and at least 1.

    Returns:
        The worst Dice first; structures that count in no case come last.
    """
    groups: dict[str, list[StructureScore]] = {}
    for score in scores:
        groups.setdefault(score.name, []).append(score)
    means = []
    for name, group in groups.items():
        counted = [score for score in group if score.reference_voxels >= max(1, minimum_voxels)]
        without = sum(not score.reference_voxels for score in group)
        dice, nsd = mean_of(score.dice for score in counted), mean_of(score.nsd for score in counted)
        means.append(StructureMean(group[0].value, name, len(counted), without, dice, nsd))
    return tuple(sorted(means, key=lambda mean: (mean.dice is None, mean.dice, mean.value)))


def mean_of(values: Iterable[float]) -> float | None:
    """Mean of some numbers; None where there are none."""
    values = list(values)
    return sum(values) / len(values) if values else None
