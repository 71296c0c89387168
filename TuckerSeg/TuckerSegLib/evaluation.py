"""How far two label maps agree, structure by structure."""

from __future__ import annotations

import numpy as np

MINIMUM_VOXELS = 20


def dice_per_label(labels: np.ndarray, reference: np.ndarray) -> dict[int, float]:
    """Dice of every label (but 0) that is in either map.

    Args:
        labels, reference: (Z, Y, X), small non-negative integers.

    Returns:
        Label value to Dice, 2|A∩B| / (|A|+|B|).
    """
    count = int(max(labels.max(), reference.max())) + 1
    sizes, reference_sizes, common = (np.zeros(count, dtype=np.int64) for _ in range(3))
    for first, second in zip(labels, reference, strict=True):
        sizes += np.bincount(first.ravel(), minlength=count)
        reference_sizes += np.bincount(second.ravel(), minlength=count)
        common += np.bincount(first[first == second], minlength=count)
    present = [value for value in range(1, count) if sizes[value] + reference_sizes[value]]
    return {value: float(2 * common[value] / (sizes[value] + reference_sizes[value])) for value in present}


def mean_dice(labels: np.ndarray, reference: np.ndarray, minimum_voxels: int = MINIMUM_VOXELS) -> float:
    """Mean Dice over structures of at least ``minimum_voxels`` voxels in the reference; nan where there are none."""
    sizes = np.bincount(reference.ravel())
    dice = dice_per_label(labels, reference)
    counted = [dice[value] for value in dice if value < len(sizes) and sizes[value] >= minimum_voxels]
    return float(np.mean(counted)) if counted else float("nan")
