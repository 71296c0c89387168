"""Multi-layer token assembly: groups of tokens that left a network at several depths become one sequence again."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .vit_block import EPSILON, VitBlock

TEMPERATURE = 10000.0  # of the positions' frequencies


class Assembly(nn.Module):
    """Each group through a norm and a linear layer of its own and marked as it, all at their places, then one block.

    Args:
        width: Channels of a token, C, a multiple of 6.
        grid: Cells (Z, Y, X).
        registers: Leading tokens that stand for no cell.
        groups: Number of groups: one per place where tokens leave, and the last.
        heads: Of the block's attention.
    """

    def __init__(self, width: int, grid: Sequence[int], registers: int, groups: int, heads: int):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=EPSILON) for _ in range(groups))
        self.projections = nn.ModuleList(nn.Linear(width, width) for _ in range(groups))
        self.layer_tokens = nn.Parameter(torch.zeros(groups, width))
        self.register_buffer("positions", positions_of(grid, width, registers), persistent=False)
        self.block = VitBlock(width, heads)
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.projection = nn.Linear(width, width)

    def forward(self, groups: Sequence[Tensor], rows: Sequence[Tensor]) -> Tensor:
        """Groups of tokens (B, n, C) and their rows (B, n), which make up all rows, to all tokens (B, N, C)."""
        marked = [
            projection(norm(tokens)) + own
            for tokens, norm, projection, own in zip(
                groups, self.norms, self.projections, self.layer_tokens, strict=True
            )
        ]
        tokens = torch.cat(marked, dim=1)
        every_row = torch.cat(tuple(rows), dim=1)[..., None].expand(-1, -1, tokens.shape[2])
        tokens = torch.zeros_like(tokens).scatter(1, every_row, tokens)
        return self.projection(self.norm(self.block(tokens + self.positions)))


def positions_of(grid: Sequence[int], width: int, registers: int) -> Tensor:
    """Sines and cosines of places: a third of the channels per axis; zero for the registers.

    It has values on the processor even where the network around it is being built on the meta device: no file has them.

    Args:
        grid: Cells (Z, Y, X).
        width: Channels, a multiple of 6.
        registers: Leading tokens that stand for no cell.

    Returns:
        (1, registers + cells, width).
    """
    with torch.device("cpu"):
        frequencies = TEMPERATURE ** -(torch.arange(width // 6).float() / (width // 6))
        axes = torch.meshgrid([torch.arange(side).float() for side in grid], indexing="ij")
        waves = [wave(axis.flatten()[:, None] * frequencies) for axis in axes for wave in (torch.sin, torch.cos)]
        positions = torch.cat(waves, dim=1).reshape(math.prod(grid), width)
        return nn.functional.pad(positions, (0, 0, registers, 0))[None]
