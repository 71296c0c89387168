"""Cells of a grid in blocks of as many along each axis: sums over the blocks, and which block a cell is in."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class CellGroups:
    """Blocks of cells; those at the grid's ends may have fewer.

    Args:
        grid: Cells (Z, Y, X).
        side: Cells of a block along each axis.

    Attributes:
        cells: Number of cells, N.
        number: Of blocks, G.
        full: Cells of a block that is as large as there is one, and how many of these there are.
    """

    def __init__(self, grid: Sequence[int], side: int):
        self.side, self.grid = side, tuple(grid)
        self.blocks = tuple(-(-size // side) for size in grid)
        self.cells, self.number = math.prod(grid), math.prod(self.blocks)
        sides = [min(size, side) for size in grid]
        self.full = (math.prod(sides), math.prod(size // least for size, least in zip(grid, sides)))

    def sums(self, maps: Tensor) -> Tensor:
        """Sums over each block of (B, C, Z, Y, X)."""
        missing = [-size % self.side for size in self.grid]
        if any(missing):
            maps = nn.functional.pad(maps, [each for amount in reversed(missing) for each in (0, amount)])
        for axis, number in enumerate(self.blocks, start=2):
            before, behind = tuple(maps.shape[:axis]), tuple(maps.shape[axis + 1 :])
            parts = maps.reshape(math.prod(before), number, self.side, math.prod(behind))
            maps = parts.sum(dim=2).reshape(*before, number, *behind)
        return maps

    def owners(self, device: torch.device) -> Tensor:
        """Number of each cell's block, (N,)."""
        along = [torch.arange(size, device=device) // self.side for size in self.grid]
        z, y, x = torch.meshgrid(*along, indexing="ij")
        return ((z * self.blocks[1] + y) * self.blocks[2] + x).flatten()
