"""How tokens pass a transformer's blocks when some are left out on the way.

After some of the blocks, tokens outside the body are left out, then those that the block changed least. What is left
out keeps the embedding that it had then, and is written back to its place when the others have passed all blocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ...token_layers.scorer import inside_first
from .body import cells_in_body


@dataclass(frozen=True)
class _Going:
    """Tokens on their way. K of N cells are left.

    Attributes:
        tokens: (B, registers + K, C).
        rotation: Of the K, (2, K, width) or (2, B, 1, K, width).
        places: Numbers of their cells, (B, K).
        inside: Whether these lie in the body, (B, K).
        whole: All tokens as they were when they were last left alone, (B, registers + N, C).
    """

    tokens: Tensor
    rotation: Tensor | None
    places: Tensor
    inside: Tensor
    whole: Tensor


class SparsePassage(nn.Module):
    """Some tokens through all blocks, the others through the first.

    How many go on is a matter of each patch where air is known: a share of those in its body. Where the network is
    traced for a device that wants fixed shapes, it is the same share of all tokens, which is at least as many.

    Args:
        cell: Voxels (Z, Y, X) of a token.
        registers: Leading tokens that stand for no cell, and are never left out.
        depth: Number of blocks.
        keep_ratio: Share of the tokens that goes on.
        after: Numbers of the blocks after which the others are left out.
        air: Value of the patch up to which a voxel is air; None: nothing is known of air.

    Attributes:
        fixed: Whether every patch keeps the same number of tokens, as where the network is traced.
    """

    runs_blocks = True

    def __init__(
        self,
        cell: Sequence[int],
        registers: int,
        depth: int,
        keep_ratio: float,
        after: Sequence[int],
        air: float | None = None,
    ):
        super().__init__()
        self.cell, self.registers, self.depth = tuple(cell), registers, depth
        self.keep_ratio, self.after, self.air = keep_ratio, tuple(after), air
        self.fixed = False

    def forward(
        self,
        blocks: nn.ModuleList,
        tokens: Tensor,
        rotation: Tensor | None,
        patches: Tensor,
        levels: Sequence[int] = (),
    ) -> Tensor | list[Tensor]:
        """Tokens (B, N, C) of patches (B, I, Z, Y, X), registers first, to tokens; the rotation (2, N, width).

        ``levels`` are blocks whose tokens are wanted, too.
        """
        going, outputs = self._start(tokens, rotation, patches), []
        for number, block in enumerate(blocks):
            passed = block(going.tokens, going.rotation)
            change = relative_change(going.tokens[:, self.registers :], passed[:, self.registers :])
            going = replace(going, tokens=passed)
            if number in self.after:
                going = self._without_the_least_changed(going, change, rotation)
            if number in levels:
                outputs.append(self._written_back(going))
        whole = self._written_back(going)
        return [*outputs, whole] if levels else whole

    def _start(self, tokens: Tensor, rotation: Tensor | None, patches: Tensor) -> _Going:
        count = tokens.shape[1] - self.registers
        places = torch.arange(count, device=tokens.device).expand(tokens.shape[0], count)
        knows_air = self.air is not None and tokens.shape[0] > 0
        inside = cells_in_body(patches, self.cell, self.air) if knows_air else torch.ones_like(places, dtype=torch.bool)
        return _Going(tokens, rotation, places, inside, tokens)

    def _without_the_least_changed(self, going: _Going, change: Tensor, rotation: Tensor | None) -> _Going:
        """The tokens that go on, in their order; ``rotation`` is that of all."""
        number = self._number(going.inside)
        if number >= going.places.shape[1]:
            return going
        whole = self._written_back(going)
        kept = inside_first(change, going.inside).topk(number, dim=1).indices.sort(dim=1).values
        tokens = going.tokens[:, self.registers :].gather(1, kept[..., None].expand(-1, -1, going.tokens.shape[2]))
        if self.registers:
            tokens = torch.cat((going.tokens[:, : self.registers], tokens), dim=1)
        places = going.places.gather(1, kept)
        if rotation is not None:
            rotation = rotation[:, places][:, :, None]
        return _Going(tokens, rotation, places, going.inside.gather(1, kept), whole)

    def _number(self, inside: Tensor) -> int:
        """How many tokens of each patch go on: of the patch of a batch that needs most."""
        most = math.ceil(self.keep_ratio * inside.shape[1] - 1e-9)
        traced = torch.jit.is_tracing() or torch.compiler.is_compiling() or not inside.shape[0]
        if self.fixed or traced or self.air is None:
            return most
        return max(1, math.ceil(self.keep_ratio * int(inside.sum(dim=1).max()) - 1e-9))

    def _written_back(self, going: _Going) -> Tensor:
        """All tokens (B, registers + N, C): those that are still on their way as they are now."""
        if going.tokens.shape[1] == going.whole.shape[1]:
            return going.tokens
        rows = going.places + self.registers
        if self.registers:
            leading = torch.arange(self.registers, device=rows.device).expand(rows.shape[0], self.registers)
            rows = torch.cat((leading, rows), dim=1)
        return going.whole.scatter(1, rows[..., None].expand(-1, -1, going.tokens.shape[2]), going.tokens)


def relative_change(before: Tensor, after: Tensor) -> Tensor:
    """How much tokens (B, N, C) were changed, relative to their length: (B, N)."""
    return (after - before).norm(dim=2) / before.norm(dim=2).clamp(min=1e-12)
