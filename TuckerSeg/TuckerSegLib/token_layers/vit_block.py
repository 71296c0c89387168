"""The block of a vision transformer (Dosovitskiy et al. 2021, arXiv:2010.11929)."""

from __future__ import annotations

from torch import Tensor, nn

EPSILON = 1e-6  # of its norms


class VitBlock(nn.Module):
    """Attention, then two linear layers, each after a norm and added to what came in.

    Args:
        width: Channels of a token, C.
        heads: That share them.
        mlp_ratio: Channels between the two layers, relative to those of a token.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4.0):
        super().__init__()
        self.heads, hidden = heads, int(width * mlp_ratio)
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=EPSILON)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor, rotation: Tensor | None = None, log_sizes: Tensor | None = None) -> Tensor:
        """Tokens (B, N, C) to tokens. There is no rotation: places are told before.

        ``log_sizes`` (B, N) are logarithms of how many tokens each stands for; None: for itself.
        """
        queries, keys, values = self.qkv(self.norm1(tokens)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        addend = None if log_sizes is None else log_sizes[:, None, None].to(queries.dtype)
        mixed = nn.functional.scaled_dot_product_attention(queries, keys, values, addend)
        tokens = tokens + self.proj(mixed.transpose(1, 2).flatten(2))
        return tokens + self.fc2(nn.functional.gelu(self.fc1(self.norm2(tokens))))
