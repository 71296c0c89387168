"""Second moments of feature maps, computed piece by piece and without what symmetry tells."""

from __future__ import annotations

import torch
from torch import Tensor

VALUES_AT_ONCE = 2**20  # in single precision, so that they stay in the processor's cache
BLOCKS = 8  # of rows: 9/16 of the whole product is computed
LEAST_ROWS = 64  # of a block; smaller products are no cheaper


def gram(rows: Tensor) -> Tensor:
    """The symmetric product ``rows @ rows.T``, (N, N).

    Args:
        rows: (N, K).
    """
    size = len(rows)
    step = max(-(-size // BLOCKS), LEAST_ROWS)
    product = rows.new_empty(size, size)
    for begin in range(0, size, step):
        own = slice(begin, begin + step)
        product[own, : begin + step] = rows[own] @ rows[: begin + step].T
        product[:begin, own] = product[own, :begin].T
    return product


def voxel_gram(values: Tensor) -> Tensor:
    """Products of all pairs of channels, summed over the voxels of values (B, C, ...): (C, C), single precision."""
    flat = values.transpose(0, 1).flatten(1)
    total = torch.zeros(len(flat), len(flat), device=values.device)
    for voxels in flat.split(max(1, VALUES_AT_ONCE // len(flat)), dim=1):
        piece = voxels.float()
        total.addmm_(piece, piece.T)
    return total


def variances(values: Tensor) -> Tensor:
    """Variance over the voxels of each channel of values (B, C, ...), mean of the batch: (C,), single precision."""
    flat, per_channel = values.flatten(2), []
    for channels in flat.split(max(1, VALUES_AT_ONCE // flat.shape[2]), dim=1):
        piece = channels.float()
        # Several times as fast as ``var``, and as exact
        deviations = torch.linalg.vector_norm(piece - piece.mean(dim=2, keepdim=True), dim=2)
        per_channel.append((deviations.square() / flat.shape[2]).mean(dim=0))
    return torch.cat(per_channel)
