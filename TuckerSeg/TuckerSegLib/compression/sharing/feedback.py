"""Layers that follow each other with nothing between, as a Tucker step leaves them: errors of one, mended by the next.

When a factor is quantized its outputs change. The next layer is linear in them, so it can take on the matrix that
best makes the former outputs of the new ones, before it is quantized itself (least squares in the norm of what the
factor is multiplied with).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..layers import CONVOLUTIONS, convolutions

RIDGE = 1e-6  # of the mean of the diagonal


def chains(network: nn.Module) -> list[tuple[str, ...]]:
    """Paths of convolutions that follow each other directly in a sequence of nothing else, two or more."""
    paths = convolutions(network)
    result = []
    for path, module in network.named_modules():
        if isinstance(module, nn.Sequential) and len(module) > 1 and all(isinstance(m, CONVOLUTIONS) for m in module):
            chain = tuple(f"{path}.{number}" for number in range(len(module)))
            if all(each in paths for each in chain) and all(layer.groups == 1 for layer in module):
                result.append(chain)
    return result


def restoring(weight: Tensor, quantized: Tensor, inputs: Tensor | None) -> Tensor:
    """The matrix T (O, O) that makes a layer's outputs of those of its quantized form: T Ŵ x is nearest to W x.

    Args:
        weight, quantized: (O, I, taps).
        inputs: Second moment of what the weight is multiplied with, (I taps, I taps) or (I, I); None: the identity.
    """
    weight, quantized = weight.double(), quantized.double()
    if inputs is not None and len(inputs) == weight[0].numel():
        weighted = quantized.flatten(1) @ inputs
        cross, gram = weight.flatten(1) @ weighted.T, quantized.flatten(1) @ weighted.T
    else:
        inputs = torch.eye(weight.shape[1], dtype=torch.float64) if inputs is None else inputs
        weighted = torch.einsum("oit,ij->ojt", quantized, inputs).flatten(1)
        cross, gram = weight.flatten(1) @ weighted.T, quantized.flatten(1) @ weighted.T
    ridge = RIDGE * gram.diagonal().mean().clamp(min=1e-30)
    # What the quantized outputs do not tell stays as it was: the ridge draws T to the identity.
    eye = torch.eye(len(gram), dtype=torch.float64)
    return torch.linalg.solve(gram + ridge * eye, (cross + ridge * eye).T).T
