"""How far a network's logits are from another's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


@torch.no_grad()
def distance(original: nn.Module, compressed: nn.Module, patches: Sequence[Tensor]) -> float:
    """How far a compressed network's logits are from the original's: their relative squared error.

    The mean over classes is taken off the logits of each voxel first, because it changes no label.

    Args:
        original, compressed: From (1, C, Z, Y, X) to logits (1, L, Z, Y, X), or to a list whose first entry they are.
        patches: (1, C, Z, Y, X) each, at least one.

    Returns:
        Squared error / squared norm of the original's logits, mean of the patches; 0 where both give the same.
    """
    errors = []
    for patch in patches:
        expected, logits = (_first_output(network(patch)) for network in (original, compressed))
        expected -= expected.mean(dim=1, keepdim=True)
        logits -= logits.mean(dim=1, keepdim=True)
        errors.append(float((logits - expected).square().sum() / expected.square().sum().clamp(min=1e-12)))
    return sum(errors) / len(errors)


def _first_output(output: Tensor | Sequence[Tensor]) -> Tensor:
    return output[0] if isinstance(output, (list, tuple)) else output
