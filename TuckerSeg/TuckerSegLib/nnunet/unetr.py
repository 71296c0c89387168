"""UNETR (Hatamizadeh et al. 2022, arXiv:2103.10504) with tokens of 8 voxels, and as TokenSparse sparsifies its tokens.

A vision transformer embeds the patch; a decoder of convolutions takes what three of its blocks and its end give. With
tokens of 8 voxels the lowest level is an average over two of them along each axis, so that the decoder is as deep as
with tokens of 16. With ``keep_ratio`` tokens leave on the way and are completed (arXiv:2303.06522): the completed
sequence is then what every level of the decoder gets.

Attribute names are those of the weights in files: they stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..token_layers.learned_passage import LearnedPassage
from ..token_layers.vit_block import EPSILON, VitBlock
from .primus import POSITION_SCALE, AllTokens

CLASS_TOKENS = 1
LEVELS = (0.25, 0.5, 0.75)  # of the blocks, after which the decoder takes tokens
SLOPE = 0.01  # of the leaky ReLU


class ResidualUnit(nn.Module):
    """Two convolutions of 3 x 3 x 3, normalized, added to what came in."""

    def __init__(self, channels: int, features: int):
        super().__init__()
        self.conv1 = nn.Conv3d(channels, features, 3, padding=1, bias=False)
        self.norm1 = nn.InstanceNorm3d(features)
        self.conv2 = nn.Conv3d(features, features, 3, padding=1, bias=False)
        self.norm2 = nn.InstanceNorm3d(features)
        self.conv3 = nn.Conv3d(channels, features, 1, bias=False) if channels != features else None
        self.norm3 = nn.InstanceNorm3d(features) if channels != features else None

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, Z, Y, X) to (B, F, Z, Y, X)."""
        inner = nn.functional.leaky_relu(self.norm1(self.conv1(maps)), SLOPE)
        short = maps if self.conv3 is None else self.norm3(self.conv3(maps))
        return nn.functional.leaky_relu(self.norm2(self.conv2(inner)) + short, SLOPE)


class Upward(nn.Module):
    """Twice the resolution, beside what stands there, and a residual unit over both."""

    def __init__(self, channels: int, features: int):
        super().__init__()
        self.transposed = _doubling(channels, features)
        self.unit = ResidualUnit(2 * features, features)

    def forward(self, maps: Tensor, skip: Tensor) -> Tensor:
        """(B, C, Z, Y, X) and (B, F, 2 Z, 2 Y, 2 X) to (B, F, 2 Z, 2 Y, 2 X)."""
        return self.unit(torch.cat((self.transposed(maps), skip), dim=1))


class Decoder(nn.Module):
    """From the patch and tokens at four depths to logits.

    Args:
        input_channels, num_classes: Of patch and logits.
        width: Channels of a token.
        features: Of the highest level.
    """

    def __init__(self, input_channels: int, num_classes: int, width: int, features: int):
        super().__init__()
        self.level1 = ResidualUnit(input_channels, features)
        self.level2 = nn.Sequential(
            _doubling(width, 2 * features),
            _doubling(2 * features, 2 * features),
            ResidualUnit(2 * features, 2 * features),
        )
        self.level3 = _doubling(width, 4 * features)
        self.level4 = ResidualUnit(width, 8 * features)
        self.lowest = nn.AvgPool3d(2)
        self.up4 = Upward(width, 8 * features)
        self.up3 = Upward(8 * features, 4 * features)
        self.up2 = Upward(4 * features, 2 * features)
        self.up1 = Upward(2 * features, features)
        self.head = nn.Conv3d(features, num_classes, 1)

    def forward(self, patches: Tensor, levels: Sequence[Tensor]) -> Tensor:
        """Patches (B, I, Z, Y, X) and four maps (B, C, Z / 8, Y / 8, X / 8), the deepest last, to logits."""
        second, third, fourth, last = levels
        maps = self.up4(self.lowest(last), self.level4(fourth))
        maps = self.up3(maps, self.level3(third))
        maps = self.up2(maps, self.level2(second))
        return self.head(self.up1(maps, self.level1(patches)))


class Encoder(nn.Module):
    """Cells of voxels to tokens, with learned places and a token for the whole patch, through blocks."""

    def __init__(
        self, input_channels: int, width: int, depth: int, heads: int, grid: Sequence[int], cell: Sequence[int]
    ):
        super().__init__()
        self.grid = tuple(grid)
        self.embedding = nn.Conv3d(input_channels, width, tuple(cell), tuple(cell))
        self.class_token = nn.Parameter(torch.zeros(1, CLASS_TOKENS, width))
        self.positions = nn.Parameter(torch.randn(1, CLASS_TOKENS + math.prod(grid), width) * POSITION_SCALE)
        self.blocks = nn.ModuleList(VitBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.passage: nn.Module = AllTokens(cell, CLASS_TOKENS, depth, grid, width, heads)
        self.levels = tuple(min(depth - 1, int(depth * share)) for share in LEVELS)

    def forward(self, patches: Tensor) -> list[Tensor]:
        """Patches (B, I, Z, Y, X) to tokens (B, N, C) at three depths, and of the end."""
        tokens = self.embedding(patches).flatten(2).transpose(1, 2)
        tokens = torch.cat((self.class_token.expand(tokens.shape[0], -1, -1), tokens), dim=1) + self.positions
        *levels, last = self.passage(self.blocks, tokens, None, patches, self.levels)
        if not getattr(self.passage, "assembles", False):
            last = self.norm(last)
        return [tokens[:, CLASS_TOKENS:] for tokens in (*levels, last)]


class UNETR(nn.Module):
    """A vision transformer and a decoder of convolutions.

    Args:
        input_channels: I.
        num_classes: L, channels of the logits.
        input_shape: (Z, Y, X) of the patches, the only ones that it takes.
        embed_dim, depth, num_heads: Channels of a token, blocks, heads of attention.
        patch_embed_size: Voxels (Z, Y, X) of a cell: 8 along each axis.
        feature_size: Channels of the decoder's highest level.
        keep_ratio: Share of the tokens that goes on after each of ``token_blocks``; None: all go through all blocks.
        token_blocks: Numbers of blocks, from 0 on; after a quarter, half and three quarters where they are not named.
        ignored: What nnU-Net asks of every network, and rates by which training drops things.

    Attributes:
        patch_shape: (Z, Y, X) of the patches.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        input_shape: Sequence[int],
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        patch_embed_size: Sequence[int] = (8, 8, 8),
        feature_size: int = 16,
        keep_ratio: float | None = None,
        token_blocks: Sequence[int] | None = None,
        **ignored: Any,
    ):
        super().__init__()
        self.patch_shape, cell = tuple(input_shape), tuple(patch_embed_size)
        grid = [side // voxels for side, voxels in zip(input_shape, cell, strict=True)]
        self.encoder = Encoder(input_channels, embed_dim, depth, num_heads, grid, cell)
        self.decoder = Decoder(input_channels, num_classes, embed_dim, feature_size)
        if keep_ratio is not None:
            after = token_blocks or [round(depth * share) - 1 for share in LEVELS]
            self.encoder.norm = nn.Identity()  # each group of tokens has its own
            self.encoder.passage = LearnedPassage(
                embed_dim, grid, cell, CLASS_TOKENS, depth, num_heads, keep_ratio, after
            )

    def forward(self, patches: Tensor) -> Tensor:
        """Patches (B, I, Z, Y, X) to logits (B, L, Z, Y, X)."""
        maps = [each.transpose(1, 2).unflatten(2, self.encoder.grid) for each in self.encoder(patches)]
        return self.decoder(patches, maps)


def _doubling(channels: int, features: int) -> nn.Module:
    """A transposed convolution to twice the resolution."""
    return nn.ConvTranspose3d(channels, features, 2, 2, bias=False)
