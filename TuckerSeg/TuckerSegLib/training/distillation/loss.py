"""The distillation loss: the distance of a network's logits from its original's, in a sample of voxels."""

from __future__ import annotations

import torch
from torch import Tensor

from .split_network import highest

RARE = 0.5  # exponent: a structure's voxels are drawn with weight 1 / size ** RARE
LEAST_VOXELS = 20  # a smaller structure counts as one of this size
LOGIT_WEIGHT = 1.0
LEAST_MARGIN = 0.01  # so that every voxel counts, and weights have a mean
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


def distillation_loss(logits: Tensor, expected: Tensor, margin_exponent: float = 0.0) -> Tensor:
    """Kullback-Leibler divergence from the original's classes, plus the relative squared error of the logits.

    Args:
        logits, expected: Of the compressed and of the original network, (L, N).
        margin_exponent: See :func:`margin_weights`; voxels count by these.

    Returns:
        A scalar.
    """
    target = torch.log_softmax(expected, dim=0)
    weights = margin_weights(target.exp(), margin_exponent)
    divergence = (target.exp() * (target - torch.log_softmax(logits, dim=0))).sum(dim=0)
    # A constant added to all logits of a voxel changes nothing.
    centered = expected - expected.mean(dim=0)
    error = (logits - logits.mean(dim=0) - centered).square().mean(dim=0)
    error = error * (LOGIT_WEIGHT / centered.square().mean().clamp(min=1e-12))
    return (weights * (divergence + error)).mean()


def margin_weights(probabilities: Tensor, exponent: float) -> Tensor:
    """How much voxels count by the original's margin: the probability of its class above that of the next one.

    Args:
        probabilities: Of the original, (L, N).
        exponent: Above 0: voxels count by this power of the margin, so that it is sure ones that count; below 0: by the
            power of what the margin lacks of 1, so that it is unsure ones; 0: all alike.

    Returns:
        (N,), of mean 1.
    """
    if exponent == 0 or len(probabilities) < 2:
        return torch.ones_like(probabilities[0])
    first, second = probabilities.topk(2, dim=0).values
    margin = first - second
    weights = (margin if exponent > 0 else 1 - margin).clamp(min=LEAST_MARGIN).pow(abs(exponent))
    return weights / weights.mean()
