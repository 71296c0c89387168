"""The distillation loss: the distance of a network's logits from its original's, in a sample of voxels."""

from __future__ import annotations

import torch
from torch import Tensor

from .split_network import highest

RARE = 0.5  # exponent: a structure's voxels are drawn with weight 1 / size ** RARE
LEAST_VOXELS = 20  # a smaller structure counts as one of this size
LOGIT_WEIGHT = 1.0
CANDIDATES = 4  # voxels that the original labels, per voxel that is drawn: all logits of a crop cost half a pass


def candidate_voxels(count: int, drawn: int, generator: torch.Generator) -> Tensor:
    """Voxels of a crop among which :func:`balanced_voxels` draws: CANDIDATES times as many, or all where that is less.

    Args:
        count: Voxels of the crop.
        drawn: How many the loss will look at.
        generator: On the CPU.

    Returns:
        Indices on the CPU.
    """
    number = CANDIDATES * drawn
    return torch.arange(count) if number >= count else torch.randint(count, (number,), generator=generator)


def balanced_voxels(logits: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw voxels, small structures more often than their size, so that they are not lost among large ones.

    Args:
        logits: Of the original, (L, N).
        count: How many to draw.
        generator: On the CPU, so that every device draws the same.

    Returns:
        Indices (count,) of the N voxels, drawn with replacement; on the device of the logits.
    """
    labels = highest(logits).cpu()
    sizes = torch.bincount(labels, minlength=logits.shape[0]).clamp(min=LEAST_VOXELS).float()
    return torch.multinomial(sizes.pow(-RARE)[labels], count, replacement=True, generator=generator).to(logits.device)


def distillation_loss(logits: Tensor, expected: Tensor) -> Tensor:
    """Kullback-Leibler divergence from the original's classes, plus the relative squared error of the logits.

    Args:
        logits, expected: Of the compressed and of the original network, (L, N).

    Returns:
        A scalar.
    """
    target = torch.log_softmax(expected, dim=0)
    divergence = (target.exp() * (target - torch.log_softmax(logits, dim=0))).sum(dim=0).mean()
    # A constant added to all logits of a voxel changes nothing.
    centered = expected - expected.mean(dim=0)
    error = logits - logits.mean(dim=0) - centered
    return divergence + LOGIT_WEIGHT * error.square().mean() / centered.square().mean().clamp(min=1e-12)
