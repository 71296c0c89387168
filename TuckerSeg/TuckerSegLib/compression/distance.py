"""How far a network's logits are from another's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


@torch.no_grad()
def distance(original: nn.Module, compressed: nn.Module, patches: Sequence[Tensor]) -> float:
    """Squared error of the logits less their mean over classes, relative to theirs; mean of patches (1, C, Z, Y, X)."""
    lost = []
    for patch in patches:
        expected, found = (_first(network(patch)) for network in (original, compressed))
        expected -= expected.mean(dim=1, keepdim=True)
        found -= found.mean(dim=1, keepdim=True)
        lost.append(float((found - expected).square().sum() / expected.square().sum().clamp(min=1e-12)))
    return sum(lost) / len(lost)


def _first(output) -> Tensor:
    return output[0] if isinstance(output, (list, tuple)) else output
