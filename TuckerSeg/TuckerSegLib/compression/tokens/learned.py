"""Layers that learn which tokens leave and how the sequence is completed, beside a choice that needs no training."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...errors import SpecError
from ...token_layers.learned_passage import LearnedPassage
from .body import cells_in_body
from .passage import relative_change

CHANNEL_SHARES = 6  # of a token: sine and cosine of three axes
SEED = 0  # of fresh weights


class CorrectedPassage(LearnedPassage):
    """``SparsePassage``, whose scores and completed sequence are corrected by what was learned.

    Before a training it gives what that gives: what is added to the score is the same for all tokens, and what is added
    to the sequence nothing.

    Args:
        old: The passage of all tokens.
        keep_ratio, after, air: As of ``SparsePassage``.

    Attributes:
        fixed: As of ``SparsePassage``.
    """

    assembles = False  # the norm that the encoder has is for what this gives, too
    learns_by_drawing = True

    def __init__(self, old: nn.Module, keep_ratio: float, after: Sequence[int], air: float | None):
        if old.width % CHANNEL_SHARES:
            raise SpecError(
                f"what completes a sequence needs tokens of a multiple of {CHANNEL_SHARES} channels; found {old.width}"
            )
        with torch.random.fork_rng([]):
            torch.default_generator.manual_seed(SEED)
            super().__init__(old.width, old.grid, old.cell, old.registers, old.depth, old.heads, keep_ratio, after)
        self.air, self.fixed = air, False
        for last in (*(scorer.layers[-1] for scorer in self.scorers), self.assembly.projection):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def _scores(self, number: int, before: Tensor, after: Tensor) -> Tensor:
        change = relative_change(before[:, self.registers :], after[:, self.registers :])
        return change.clamp(min=1e-12).log() + super()._scores(number, before, after)

    def _left_out_first(self, patches: Tensor) -> Tensor | None:
        return None if self.air is None or not len(patches) else ~cells_in_body(patches, self.cell, self.air)

    def _number(self, count: int, inside: Tensor | None) -> int:
        traced = torch.jit.is_tracing() or torch.compiler.is_compiling()
        if inside is None or self.fixed or traced:
            return math.ceil(self.keep_ratio * count - 1e-9)
        return max(1, math.ceil(self.keep_ratio * int(inside.sum(dim=1).max()) - 1e-9))

    def _completed(self, groups: list[Tensor], rows: list[Tensor]) -> Tensor:
        every = torch.cat(groups, dim=1)
        every_row = torch.cat(rows, dim=1)[..., None].expand(-1, -1, every.shape[2])
        return torch.zeros_like(every).scatter(1, every_row, every) + self.assembly(groups, rows)
