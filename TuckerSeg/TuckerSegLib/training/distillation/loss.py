"""How far a network is from its original, in a sample of voxels."""

from __future__ import annotations

import torch
from torch import Tensor

RARE = 0.5  # exponent: a structure's voxels are drawn with weight 1 / size ** RARE
LEAST_VOXELS = 20  # a smaller structure counts as one of this size
LOGIT_WEIGHT = 1.0


def balanced_voxels(logits: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Indices of voxels, drawn with replacement so that small structures are not lost among large ones.

    Args:
        logits: Of the original, (L, N).
        count: How many to draw.
        generator: On the CPU, so that every device draws the same.
    """
    labels = logits.argmax(dim=0).cpu()
    sizes = torch.bincount(labels, minlength=logits.shape[0]).clamp(min=LEAST_VOXELS).float()
    return torch.multinomial(sizes.pow(-RARE)[labels], count, replacement=True, generator=generator).to(logits.device)


def distillation_loss(found: Tensor, expected: Tensor) -> Tensor:
    """Kullback-Leibler divergence from the original's classes, plus the relative squared error of the logits.

    Args:
        found, expected: Logits (L, N) of the compressed and of the original network.

    Returns:
        A scalar.
    """
    target = torch.log_softmax(expected, dim=0)
    divergence = (target.exp() * (target - torch.log_softmax(found, dim=0))).sum(dim=0).mean()
    # A constant added to all logits of a voxel changes nothing.
    centered = expected - expected.mean(dim=0)
    error = found - found.mean(dim=0) - centered
    return divergence + LOGIT_WEIGHT * error.square().mean() / centered.square().mean().clamp(min=1e-12)
