"""Cells of a grid in blocks: sums over the blocks, and which block a cell is in."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class CellGroups:
    """Blocks of cells; those at the grid's ends may have fewer.

    Args:
        grid: Cells (Z, Y, X).
        sides: Cells (Z, Y, X) of a block.

    Attributes:
        cells: Number of cells, N.
        number: Of blocks, G.
        full: Cells of a block that is as large as there is one, and how many of these there are.
    """

    def __init__(self, grid: Sequence[int], sides: Sequence[int]):
        self.sides, self.grid = tuple(sides), tuple(grid)
        self.blocks = tuple(-(-size // side) for size, side in zip(grid, sides))
        self.cells, self.number = math.prod(grid), math.prod(self.blocks)
        largest = [min(size, side) for size, side in zip(grid, sides)]
        self.full = (math.prod(largest), math.prod(size // side for size, side in zip(grid, largest)))

    def sums(self, maps: Tensor) -> Tensor:
        """Sums over each block of (B, C, Z, Y, X)."""
        missing = [-size % side for size, side in zip(self.grid, self.sides)]
        if any(missing):
            maps = nn.functional.pad(maps, [each for amount in reversed(missing) for each in (0, amount)])
        for axis, (number, side) in enumerate(zip(self.blocks, self.sides), start=2):
            if side == 1:
                continue
            before, behind = tuple(maps.shape[:axis]), tuple(maps.shape[axis + 1 :])
            parts = maps.reshape(math.prod(before), number, side, math.prod(behind))
            maps = parts.sum(dim=2).reshape(*before, number, *behind)
        return maps

    def owners(self, device: torch.device) -> Tensor:
        """Number of each cell's block, (N,)."""
        along = [torch.arange(size, device=device) // side for size, side in zip(self.grid, self.sides)]
        z, y, x = torch.meshgrid(*along, indexing="ij")
        return ((z * self.blocks[1] + y) * self.blocks[2] + x).flatten()
