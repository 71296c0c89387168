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

BLOCK = (2, 2, 2)  # cells (Z, Y, X) of a group of tokens that are merged as they are alike
PAIR = (2, 1, 1)  # likewise, of two neighbours along the first axis
LEAST_OF_PAIRS = 0.5  # share of the tokens that is left where all are in pairs
AIR = (4, 4, 4)  # cells within which all air is one token
NEVER = 1e9  # spread of what cannot be merged: more than spreads are


@dataclass(frozen=True)
class Choice:
    """Which tokens go through the blocks. Candidates are the N cells, then groups of cells that are alike, then of air.

    Attributes:
        taken: Which candidates go (B, N + groups), 1 or 0.
        candidates: That which stands for each cell, (B, N).
    """

    taken: Tensor
    candidates: Tensor


class MergedPassage(nn.Module):
    """Tokens that are alike pass all blocks as one.

    Where air is known, the air in every block of 4 x 4 x 4 cells is one token. Of the others, pairs of neighbours along
    the first axis are one token each where they are most alike (their channels correlate best), as many as it takes to
    keep a share of these tokens; blocks of 2 x 2 x 2 cells where pairs are too few for that. So the number is a matter
    of each patch; where it is fixed, it is the same share of all tokens and air has no groups of its own.

    Args:
        cell: Voxels (Z, Y, X) of a token.
        grid: Cells (Z, Y, X).
        registers: Leading tokens that stand for no cell, and are never merged.
        depth: Number of blocks.
        keep_ratio: Share of the tokens outside air that goes on, at least.
        air: Value of the patch up to which a voxel is air; None: nothing is known of air.
        paired: As above; else it is always blocks, those first whose embeddings are least far from their mean, relative
            to their length.

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
        paired: bool = False,
    ):
        super().__init__()
        self.cell, self.grid, self.registers, self.depth = tuple(cell), tuple(grid), registers, depth
        self.keep_ratio, self.air, self.paired, self.fixed = keep_ratio, air, paired, False
        sides = PAIR if paired and keep_ratio >= LEAST_OF_PAIRS else BLOCK
        self.alike_groups, self.air_groups = CellGroups(grid, sides), CellGroups(grid, AIR)

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
        members, air = self._members(cells, patches)
        means, counts = self._candidates(cells.transpose(1, 2), members, air)
        choice = self._choice(self._spread(cells, members, counts), counts, members, air)
        rows = self._rows(choice.taken)
        # Cells' places among the rows: counted in whole numbers, which half precision has none of above 256
        ranks = ((choice.taken > 0.5).long().cumsum(dim=1) - 1).gather(1, choice.candidates)
        start = _taken(means.transpose(1, 2), rows)
        leading_counts = torch.ones(leading.shape[:2], device=tokens.device)
        log_sizes = torch.cat((leading_counts, counts.gather(1, rows)), dim=1).log()
        if rotation is not None:
            turns = rotation.transpose(1, 2).flatten(0, 1)[None].expand(tokens.shape[0], -1, -1)
            turns = _taken(self._candidates(turns, members, air)[0].transpose(1, 2), rows)
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

    def _spread(self, cells: Tensor, members: Tensor, counts: Tensor) -> Tensor:
        """Of every group the mean squared distance from its mean, relative to that from zero: (B, groups)."""
        values = nn.functional.layer_norm(cells.float(), cells.shape[2:]) if self.paired else cells.float()
        groups, values = self.alike_groups, (values * members[..., None]).transpose(1, 2)
        sizes = counts[:, groups.cells : groups.cells + groups.number]
        means = groups.sums(values.unflatten(2, self.grid)).flatten(2) / sizes.clamp(min=1)[:, None]
        apart = (values - means.index_select(2, groups.owners(cells.device))) * members[:, None]
        squares, distances = (
            groups.sums(each.square().sum(dim=1).unflatten(1, (1, *self.grid))).flatten(1) for each in (values, apart)
        )
        return torch.where(sizes > 1.5, distances / squares.clamp(min=1e-12), NEVER)

    def _choice(self, spread: Tensor, counts: Tensor, members: Tensor, air: Tensor | None) -> Choice:
        count, device = self.alike_groups.cells, members.device
        sizes = counts[:, count : count + self.alike_groups.number]
        if self.fixed or not members.shape[0]:
            full = torch.where(sizes > self.alike_groups.full[0] - 0.5, spread, NEVER)
            merged = torch.zeros_like(spread).scatter(1, full.topk(self._fixed_groups, largest=False).indices, 1.0)
        else:
            order = spread.argsort(dim=1)
            spared = (sizes.gather(1, order).round().long() - 1).cumsum(dim=1)
            most = (1 - self.keep_ratio) * (members > 0.5).sum(dim=1, keepdim=True) + 1e-3
            allowed = (spared <= most) & (spread.gather(1, order) < NEVER)
            merged = torch.zeros_like(spread).scatter(1, order, allowed.float())
        in_groups = merged[:, self.alike_groups.owners(device)] * members
        candidates = torch.arange(count, device=device).expand(members.shape[0], -1)
        candidates = torch.where(in_groups > 0.5, count + self.alike_groups.owners(device), candidates)
        if air is None:
            return Choice(torch.cat((1 - in_groups, merged), dim=1), candidates)
        owners = count + self.alike_groups.number + self.air_groups.owners(device)
        candidates = torch.where(air > 0.5, owners, candidates)
        some_air = (counts[:, count + self.alike_groups.number :] > 0.5).float()
        return Choice(torch.cat((members - in_groups, merged, some_air), dim=1), candidates)

    @property
    def _fixed_groups(self) -> int:
        """How many groups are merged where the number is fixed: full ones alone."""
        size, most = self.alike_groups.full
        return min(most, int((1 - self.keep_ratio) * self.alike_groups.cells / (size - 1) + 1e-9)) if size > 1 else 0

    def _rows(self, taken: Tensor) -> Tensor:
        """Numbers of the candidates that go through the blocks, rising: (B, K)."""
        if not self.fixed and taken.shape[0]:
            return torch.nonzero(taken[0] > 0.5)[:, 0][None]
        number = self.alike_groups.cells - self._fixed_groups * (self.alike_groups.full[0] - 1)
        falling = torch.arange(taken.shape[1], 0, -1, device=taken.device) / (2 * taken.shape[1])
        return (taken + falling).topk(number, dim=1).indices.sort(dim=1).values

    def _candidates(self, values: Tensor, members: Tensor, air: Tensor | None) -> tuple[Tensor, Tensor]:
        """Of all candidates the means of (B, C, N) over their cells, (B, C, all), and how many these are, (B, all)."""
        maps, means, counts = values.float().unflatten(2, self.grid), [values], [torch.ones_like(members)]
        for groups, inside in ((self.alike_groups, members), (self.air_groups, air)):
            if inside is not None:
                inside = inside.unflatten(1, (1, *self.grid))
                sizes = groups.sums(inside).flatten(1)
                means.append((groups.sums(maps * inside).flatten(2) / sizes.clamp(min=1)[:, None]).to(values.dtype))
                counts.append(sizes)
        return torch.cat(means, dim=2), torch.cat(counts, dim=1)


def _taken(tokens: Tensor, rows: Tensor) -> Tensor:
    """Rows (B, K) of tokens (B, N, C): (B, K, C)."""
    if tokens.shape[0] == 1:
        return tokens.index_select(1, rows[0])  # far faster in OpenVINO
    return tokens.gather(1, rows[..., None].expand(-1, -1, tokens.shape[2]))
