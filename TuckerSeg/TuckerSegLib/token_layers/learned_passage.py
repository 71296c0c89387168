"""How tokens pass a transformer's blocks when it was learned which leave on the way, and how they are completed.

After TokenSparse (Zhou et al., IPMI 2023, arXiv:2303.06522).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .assembly import Assembly
from .scorer import Scorer, inside_first, top_places

OUTSIDE = 1e3  # by which scores of tokens that go before all others are less in training: more than they differ by


class LearnedPassage(nn.Module):
    """Some tokens through all blocks, the others through the first; all are assembled to one sequence in the end.

    Args:
        width: Channels of a token, C.
        grid: Cells (Z, Y, X).
        cell: Voxels (Z, Y, X) of a token.
        registers: Leading tokens that stand for no cell, and are never left out.
        depth: Number of blocks.
        heads: Of the attention in the assembly.
        keep_ratio: Share of the tokens that goes on, rounded down to a number of tokens.
        after: Numbers of the blocks after which the others leave.

    Attributes:
        assembles: What it gives needs no norm: the sequence is complete.
    """

    runs_blocks = True
    assembles = True

    def __init__(
        self,
        width: int,
        grid: Sequence[int],
        cell: Sequence[int],
        registers: int,
        depth: int,
        heads: int,
        keep_ratio: float,
        after: Sequence[int],
    ):
        super().__init__()
        self.grid, self.cell, self.registers, self.depth = tuple(grid), tuple(cell), registers, depth
        self.keep_ratio, self.after = keep_ratio, tuple(after)
        self.scorers = nn.ModuleList(Scorer(width) for _ in self.after)
        self.assembly = Assembly(width, grid, registers, len(self.after) + 1, heads)

    def forward(
        self,
        blocks: nn.ModuleList,
        tokens: Tensor,
        rotation: Tensor | None,
        patches: Tensor,
        levels: Sequence[int] = (),
    ) -> Tensor | list[Tensor]:
        """Tokens (B, registers + N, C) of patches (B, I, Z, Y, X) to as many.

        Args:
            blocks, tokens, rotation, patches: As ``AllTokens`` of a transformer takes them; the rotation (2, N, width).
            levels: Of each of these blocks its tokens are wanted, too: all are the completed ones.
        """
        count = tokens.shape[1]
        rows = torch.arange(count, device=tokens.device).expand(tokens.shape[0], count)
        groups, groups_rows, turned, left_out = [], [], rotation, self._left_out_first(patches)
        for number, block in enumerate(blocks):
            passed = block(tokens, turned)
            if number in self.after:
                scores = self._scores(self.after.index(number), tokens, passed)
                passed, left, rows, left_rows = self._parted(passed, scores, rows, left_out)
                groups.append(left)
                groups_rows.append(left_rows)
                turned = (
                    None if rotation is None else rotation[:, rows[:, self.registers :] - self.registers][:, :, None]
                )
            tokens = passed
        whole = self._completed([*groups, tokens], [*groups_rows, rows])
        return [whole] * (len(levels) + 1) if levels else whole

    def _scores(self, number: int, before: Tensor, after: Tensor) -> Tensor:
        """Scores (B, n) of the tokens of cells after a block, the more the longer they stay."""
        return self.scorers[number](after[:, self.registers :])

    def _left_out_first(self, patches: Tensor) -> Tensor | None:
        """Which cells (B, N) go before all others; None: none does."""
        return None

    def _number(self, count: int, inside: Tensor | None) -> int:
        """How many of the tokens of cells go on; ``inside`` (B, count) are those that do not go first."""
        return max(1, int(count * self.keep_ratio + 1e-9))

    def _completed(self, groups: list[Tensor], rows: list[Tensor]) -> Tensor:
        return self.assembly(groups, rows)

    def _parted(
        self, tokens: Tensor, scores: Tensor, rows: Tensor, first: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Tokens that go on and those that leave, (B, registers + K, C) and (B, n - K, C), and the rows of both."""
        inside = None
        if first is not None:
            inside = ~first.gather(1, rows[:, self.registers :] - self.registers)
            scores = torch.where(inside, scores, scores - OUTSIDE) if self.training else inside_first(scores, inside)
        number = self._number(scores.shape[1], inside)
        kept, left, mask = top_places(scores, number, self.training)
        if mask is not None:  # ones, by which the scores learn
            share = torch.ones_like(mask).scatter(1, left, 0.0)
            factors = (share * mask + (1 - share) * (1 - mask))[..., None]
            leading, cells = tokens[:, : self.registers], tokens[:, self.registers :]
            tokens = torch.cat((leading, cells * factors), dim=1)
        kept, left = kept + self.registers, left + self.registers
        if self.registers:
            leading = torch.arange(self.registers, device=kept.device).expand(kept.shape[0], self.registers)
            kept = torch.cat((leading, kept), dim=1)
        return (
            *(tokens.gather(1, places[..., None].expand(-1, -1, tokens.shape[2])) for places in (kept, left)),
            rows.gather(1, kept),
            rows.gather(1, left),
        )
