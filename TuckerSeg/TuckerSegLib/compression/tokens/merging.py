"""How tokens pass a transformer's blocks when those that are alike are merged before the first.

One token stands for several: its weight in everybody's attention is the number of those (proportional attention, as of
Bolya et al. 2023, arXiv:2210.09461), its rotation the mean of theirs. What all blocks have made of it is added to each
of them, so that each keeps what it had of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .body import cells_of_air
from .cell_groups import CellGroups

PAIR = 2  # cells along each axis of a group of tokens that are merged as they are alike
AIR = 4  # cells along each axis within which all air is one token
NEVER = 1e9  # spread of what cannot be merged: more than spreads are


@dataclass(frozen=True)
class Choice:
    """Which tokens go through the blocks. Candidates are the N cells, then the groups of pairs, then those of air.

    Attributes:
        taken: Which candidates go (B, N + groups), 1 or 0.
        candidates: That which stands for each cell, (B, N).
    """

    taken: Tensor
    candidates: Tensor


class MergedPassage(nn.Module):
    """Tokens that are alike pass all blocks as one.

    Where air is known, the air in every block of 4 x 4 x 4 cells is one token. Of the others, blocks of 2 x 2 x 2 cells
    are one token each where they are most alike (embeddings least far from their mean, relative to their length), as
    many as it takes to keep a share of these tokens. So the number is a matter of each patch; where it is fixed, it is
    the same share of all tokens and air has no groups of its own.

    Args:
        cell: Voxels (Z, Y, X) of a token.
        grid: Cells (Z, Y, X).
        registers: Leading tokens that stand for no cell, and are never merged.
        depth: Number of blocks.
        keep_ratio: Share of the tokens outside air that goes on, at least.
        air: Value of the patch up to which a voxel is air; None: nothing is known of air.

    Attributes:
        fixed: Whether every patch keeps the same number of tokens, as programs do that want fixed shapes.
    """

    runs_blocks = True

    def __init__(
        self,
        cell: Sequence[int],
        grid: Sequence[int],
        registers: int,
        depth: int,
        keep_ratio: float,
        air: float | None = None,
    ):
        super().__init__()
        self.cell, self.grid, self.registers, self.depth = tuple(cell), tuple(grid), registers, depth
        self.keep_ratio, self.air, self.fixed = keep_ratio, air, False
        self.pair_groups, self.air_groups = CellGroups(grid, PAIR), CellGroups(grid, AIR)

    def forward(
        self,
        blocks: nn.ModuleList,
        tokens: Tensor,
        rotation: Tensor | None,
        patches: Tensor,
        levels: Sequence[int] = (),
    ) -> Tensor | list[Tensor]:
        """Tokens (B, registers + N, C) of patches (B, I, Z, Y, X), registers first, to tokens; rotation (2, N, width).

        ``levels`` are blocks whose tokens are wanted, too.
        """
        if tokens.shape[0] < 2:
            outputs = self._passed(blocks, tokens, rotation, patches, levels)
        else:  # each patch has a number of tokens of its own
            each = zip(tokens.split(1), patches.split(1))
            outputs = [
                torch.cat(level) for level in zip(*(self._passed(blocks, a, rotation, b, levels) for a, b in each))
            ]
        return outputs if levels else outputs[0]

    def _passed(
        self, blocks: nn.ModuleList, tokens: Tensor, rotation: Tensor | None, patches: Tensor, levels: Sequence[int]
    ) -> list[Tensor]:
        leading, cells = tokens[:, : self.registers], tokens[:, self.registers :]
        pairs, air = self._members(cells, patches)
        means, counts = self._candidates(cells.transpose(1, 2), pairs, air)
        choice = self._choice(self._spread(cells, pairs, means, counts), counts, pairs, air)
        rows = self._rows(choice.taken)
        ranks = (choice.taken.cumsum(dim=1) - 1).long().gather(1, choice.candidates)  # cells' places among the rows
        start = _taken(means.transpose(1, 2), rows)
        leading_counts = torch.ones(leading.shape[:2], device=tokens.device)
        log_sizes = torch.cat((leading_counts, counts.gather(1, rows)), dim=1).log()
        if rotation is not None:
            turns = rotation.transpose(1, 2).flatten(0, 1)[None].expand(tokens.shape[0], -1, -1)
            turns = _taken(self._candidates(turns, pairs, air)[0].transpose(1, 2), rows)
            rotation = turns.unflatten(2, (2, -1)).permute(2, 0, 1, 3)[:, :, None]
        now, outputs = torch.cat((leading, start), dim=1), []
        for number, block in enumerate(blocks):
            now = block(now, rotation, log_sizes)
            if number in levels:
                outputs.append(self._written_back(now, start, cells, ranks))
        return [*outputs, self._written_back(now, start, cells, ranks)]

    def _written_back(self, now: Tensor, start: Tensor, cells: Tensor, ranks: Tensor) -> Tensor:
        """All tokens (B, registers + N, C): to each cell is added what the token that stands for it has gained."""
        gained = _taken(now[:, self.registers :] - start, ranks)
        return torch.cat((now[:, : self.registers], cells + gained), dim=1)

    def _members(self, cells: Tensor, patches: Tensor) -> tuple[Tensor, Tensor | None]:
        """Which cells may be merged with their neighbours and which are air, 1 or 0, (B, N); None: no air is known."""
        if self.fixed or self.air is None or not cells.shape[0]:
            return torch.ones_like(cells[:, :, 0], dtype=torch.float), None
        air = cells_of_air(patches, self.cell, self.air).float()
        return 1 - air, air

    def _spread(self, cells: Tensor, pairs: Tensor, means: Tensor, counts: Tensor) -> Tensor:
        """Of every group of pairs the mean squared distance from its mean, relative to that from zero: (B, groups)."""
        squares = self.pair_groups.sums((cells.float().square().sum(dim=2) * pairs).unflatten(1, (1, *self.grid)))
        squares, groups = squares.flatten(1), slice(cells.shape[1], cells.shape[1] + self.pair_groups.number)
        of_means = means[:, :, groups].float().square().sum(dim=1) * counts[:, groups]
        spread = 1 - of_means / squares.clamp(min=1e-12)
        return torch.where(counts[:, groups] > 1.5, spread, NEVER)

    def _choice(self, spread: Tensor, counts: Tensor, pairs: Tensor, air: Tensor | None) -> Choice:
        count, device = self.pair_groups.cells, pairs.device
        sizes = counts[:, count : count + self.pair_groups.number]
        if self.fixed or not pairs.shape[0]:
            full = torch.where(sizes > self.pair_groups.full[0] - 0.5, spread, NEVER)
            merged = torch.zeros_like(spread).scatter(1, full.topk(self._fixed_groups, largest=False).indices, 1.0)
        else:
            order = spread.argsort(dim=1)
            spared = (sizes.gather(1, order) - 1).cumsum(dim=1)
            most = (1 - self.keep_ratio) * pairs.sum(dim=1, keepdim=True) + 1e-3
            allowed = (spared <= most) & (spread.gather(1, order) < NEVER)
            merged = torch.zeros_like(spread).scatter(1, order, allowed.float())
        in_pairs = merged[:, self.pair_groups.owners(device)] * pairs
        candidates = torch.arange(count, device=device).expand(pairs.shape[0], -1)
        candidates = torch.where(in_pairs > 0.5, count + self.pair_groups.owners(device), candidates)
        if air is None:
            return Choice(torch.cat((1 - in_pairs, merged), dim=1), candidates)
        owners = count + self.pair_groups.number + self.air_groups.owners(device)
        candidates = torch.where(air > 0.5, owners, candidates)
        some_air = (counts[:, count + self.pair_groups.number :] > 0.5).float()
        return Choice(torch.cat((pairs - in_pairs, merged, some_air), dim=1), candidates)

    @property
    def _fixed_groups(self) -> int:
        """How many groups of pairs are merged where the number is fixed: full ones alone."""
        size, most = self.pair_groups.full
        return min(most, int((1 - self.keep_ratio) * self.pair_groups.cells / (size - 1) + 1e-9)) if size > 1 else 0

    def _rows(self, taken: Tensor) -> Tensor:
        """Numbers of the candidates that go through the blocks, rising: (B, K)."""
        if not self.fixed and taken.shape[0]:
            return torch.nonzero(taken[0] > 0.5)[:, 0][None]
        number = self.pair_groups.cells - self._fixed_groups * (self.pair_groups.full[0] - 1)
        falling = torch.arange(taken.shape[1], 0, -1, device=taken.device) / (2 * taken.shape[1])
        return (taken + falling).topk(number, dim=1).indices.sort(dim=1).values

    def _candidates(self, values: Tensor, pairs: Tensor, air: Tensor | None) -> tuple[Tensor, Tensor]:
        """Of all candidates the means of (B, C, N) over their cells, (B, C, all), and how many these are, (B, all)."""
        maps, means, counts = values.float().unflatten(2, self.grid), [values], [torch.ones_like(pairs)]
        for groups, members in ((self.pair_groups, pairs), (self.air_groups, air)):
            if members is not None:
                members = members.unflatten(1, (1, *self.grid))
                sizes = groups.sums(members).flatten(1)
                means.append((groups.sums(maps * members).flatten(2) / sizes.clamp(min=1)[:, None]).to(values.dtype))
                counts.append(sizes)
        return torch.cat(means, dim=2), torch.cat(counts, dim=1)


def _taken(tokens: Tensor, rows: Tensor) -> Tensor:
    """Rows (B, K) of tokens (B, N, C): (B, K, C)."""
    if tokens.shape[0] == 1:
        return tokens.index_select(1, rows[0])  # far faster in OpenVINO
    return tokens.gather(1, rows[..., None].expand(-1, -1, tokens.shape[2]))
