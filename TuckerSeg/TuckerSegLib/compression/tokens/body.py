"""Which tokens of a patch lie in the body, or hold air alone, by the patch alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def cells_in_body(patches: Tensor, cell: Sequence[int], air: float) -> Tensor:
    """Cells that hold tissue, or lie between two such cells along an axis, or touch one of all these.

    So lungs and bowel gas count as body.

    Args:
        patches: (B, C, Z, Y, X); the first channel counts.
        cell: Voxels (Z, Y, X) of a token; the patch is made of whole cells.
        air: Value up to which a voxel is air.

    Returns:
        Boolean (B, N), tokens in the order of their cells.
    """
    filled = tissue = _holding_tissue(patches, cell, air)
    for axis in (2, 3, 4):
        before = torch.cumsum(tissue, dim=axis)
        behind = tissue.sum(dim=axis, keepdim=True) - before + tissue
        filled = torch.maximum(filled, ((before > 0.5) & (behind > 0.5)).float())
    return nn.functional.max_pool3d(filled, 3, stride=1, padding=1).flatten(1) > 0.5


def cells_of_air(patches: Tensor, cell: Sequence[int], air: float) -> Tensor:
    """Cells that hold nothing but air, around a body or in it; arguments and result as of ``cells_in_body``."""
    return _holding_tissue(patches, cell, air).flatten(1) < 0.5


def _holding_tissue(patches: Tensor, cell: Sequence[int], air: float) -> Tensor:
    return nn.functional.max_pool3d((patches[:, :1] > air).float(), tuple(cell))
