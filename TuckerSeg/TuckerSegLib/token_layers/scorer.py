"""Which tokens go on: a score per token, and its top K, through which gradients reach the score (soft top-k)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .vit_block import EPSILON


class Scorer(nn.Module):
    """A score per token, of what stands in it and of the mean of all.

    Args:
        width: Channels of a token, C.
    """

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.embed = nn.Linear(width, width)
        sizes = (width, width // 2, width // 4, 1)
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in zip(sizes, sizes[1:]))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, C), those of cells alone, to scores (B, N), at most 0."""
        tokens = nn.functional.gelu(self.embed(self.norm(tokens)))
        half = tokens.shape[2] // 2
        mean = tokens[:, :, half:].mean(dim=1, keepdim=True).expand(-1, tokens.shape[1], -1)
        tokens = torch.cat((tokens[:, :, :half], mean), dim=2)
        for number, layer in enumerate(self.layers):
            tokens = layer(nn.functional.gelu(tokens) if number else tokens)
        return nn.functional.logsigmoid(tokens[:, :, 0])


def top_places(scores: Tensor, count: int, training: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """The places of the highest scores, the others, and a mask of ones through which gradients reach the scores.

    Args:
        scores: (B, N).
        count: K of N.
        training: Draw at random by the scores (Gumbel noise), and make the mask: 1 for the K and 0 for the others,
            with the gradient of the softmax over all scores (straight-through).

    Returns:
        Places (B, K) and (B, N - K), both rising; the mask (B, N), None where not training.
    """
    if training:
        scores = scores - torch.empty_like(scores).exponential_().log()
    ranked = scores.topk(scores.shape[1], dim=1).indices
    kept, left = (each.sort(dim=1).values for each in (ranked[:, :count], ranked[:, count:]))
    if not training:
        return kept, left, None
    soft = scores.softmax(dim=1)
    hard = torch.zeros_like(soft).scatter(1, kept, 1.0)
    return kept, left, hard - soft.detach() + soft


def inside_first(scores: Tensor, inside: Tensor) -> Tensor:
    """Scores (B, N) of another unit: those inside above all others, and among both in the order that they had.

    Ranks, since a score less a large number is rounded, to what others are, and who is taken of equals is a matter of
    the program that takes.
    """
    ranks = scores.argsort(dim=1).argsort(dim=1)
    return (ranks + scores.shape[1] * inside).float()
