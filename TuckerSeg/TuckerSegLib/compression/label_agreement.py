"""How far the labels that two networks give to the same patches agree."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

LEAST_VOXELS = 20  # of a structure in all patches, below which its overlap says nothing


def agreement_of_labels(labels: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Mean Dice over the structures of all patches together; 1 where there are none, and none is found.

    Args:
        labels, expected: One tensor of whole numbers per patch, of the same shapes.
    """
    first, second = (torch.cat([each.flatten() for each in every]) for every in (labels, expected))
    classes = int(torch.maximum(first.max(), second.max())) + 1
    sizes, expected_sizes = (torch.bincount(each, minlength=classes) for each in (first, second))
    both = torch.bincount(first[first == second], minlength=classes)
    counted = expected_sizes >= LEAST_VOXELS
    counted[0] &= not counted[1:].any()  # background, where there is nothing else
    dice = 2 * both[counted] / (sizes + expected_sizes)[counted]
    return float(dice.mean()) if len(dice) else float((first == second).float().mean())
