"""nnU-Net's transformer Primus (Wald et al. 2025, arXiv:2503.01835), under the names that its weights have in files.

The class of dynamic_network_architectures needs timm, and that torchvision, which often does not fit the PyTorch
beside it; both take seconds to import. So the encoder is written here, after EVA-02 (Fang et al. 2023,
arXiv:2303.11331) with rotary positions (Su et al. 2021, arXiv:2104.09864); that it computes the same is a test.
Embedding and decoding of cells are that package's. What drops things at random during training is left out.

Attribute names are those of the weights in checkpoints: they stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from dynamic_network_architectures.building_blocks.patch_encode_decode import PatchDecode, PatchEmbed
from torch import Tensor, nn

from .rotation import rotation_of, turned

POSITION_SCALE = 0.02  # standard deviation of untrained positions


class Attention(nn.Module):
    """Attention of all tokens to all, queries and keys turned by their places.

    Args:
        width: Channels of a token.
        heads: That share them.
        registers: Leading tokens that have no place.
        normalize: Whether what the heads give is normalized before it is projected.

    Attributes:
        halves: Whether the first channels of all pairs that are turned come before the second ones.
    """

    def __init__(self, width: int, heads: int, registers: int, normalize: bool):
        super().__init__()
        self.heads, self.registers, self.halves = heads, registers, False
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width) if normalize else nn.Identity()
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor, rotation: Tensor | None, log_sizes: Tensor | None = None) -> Tensor:
        """Tokens (B, N, C) and the rotation (2, N or B x 1 x N, C / heads) of those with a place to tokens.

        ``log_sizes`` (B, N) are logarithms of how many tokens each stands for; None: for itself.
        """
        queries, keys, values = (
            projection(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        if rotation is not None:
            queries, keys = (turned(each, rotation, self.registers, self.halves) for each in (queries, keys))
        addend = None if log_sizes is None else log_sizes[:, None, None].to(queries.dtype)
        mixed = nn.functional.scaled_dot_product_attention(queries, keys, values, addend)
        return self.proj(self.norm(mixed.transpose(1, 2).flatten(2)))


class GatedUnit(nn.Module):
    """Two linear layers between which one half of the channels gates the other (SwiGLU, normalized)."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1_g = nn.Linear(width, hidden)
        self.fc1_x = nn.Linear(width, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, C) to tokens."""
        return self.fc2(self.norm(nn.functional.silu(self.fc1_g(tokens)) * self.fc1_x(tokens)))


class Block(nn.Module):
    """Attention, then a gated unit, each added to what came in."""

    def __init__(self, width: int, heads: int, hidden: int, registers: int, scale: float | None, normalize: bool):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads, registers, normalize)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = GatedUnit(width, hidden)
        self.gamma_1, self.gamma_2 = (
            None if scale is None else nn.Parameter(torch.full((width,), float(scale))) for _ in range(2)
        )

    def forward(self, tokens: Tensor, rotation: Tensor | None, log_sizes: Tensor | None = None) -> Tensor:
        """Tokens (B, N, C) to tokens; the other arguments as :class:`Attention` takes them."""
        added = self.attn(self.norm1(tokens), rotation, log_sizes)
        tokens = tokens + (added if self.gamma_1 is None else self.gamma_1 * added)
        added = self.mlp(self.norm2(tokens))
        return tokens + (added if self.gamma_2 is None else self.gamma_2 * added)


class AllTokens(nn.Module):
    """How tokens pass the blocks: all of them through all. A compression may put another module in its place.

    Attributes:
        cell: Voxels (Z, Y, X) of a token.
        registers: Leading tokens that stand for no cell.
        depth: Number of blocks.
        grid: Cells (Z, Y, X).
        width: Channels of a token.
        heads: Of the blocks' attention.
    """

    runs_blocks = True

    def __init__(self, cell: Sequence[int], registers: int, depth: int, grid: Sequence[int], width: int, heads: int):
        super().__init__()
        self.cell, self.registers, self.depth = tuple(cell), registers, depth
        self.grid, self.width, self.heads = tuple(grid), width, heads

    def forward(
        self,
        blocks: nn.ModuleList,
        tokens: Tensor,
        rotation: Tensor | None,
        patches: Tensor,
        levels: Sequence[int] = (),
    ) -> Tensor | list[Tensor]:
        """Tokens (B, N, C) of patches (B, I, Z, Y, X) to tokens; after those of these blocks where any are named."""
        outputs = []
        for number, block in enumerate(blocks):
            tokens = block(tokens, rotation)
            if number in levels:
                outputs.append(tokens)
        return [*outputs, tokens] if levels else tokens


class Encoder(nn.Module):
    """Blocks that tokens pass, their places told by a learned addend and by rotation."""

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        grid: Sequence[int],
        cell: Sequence[int],
        registers: int,
        learned: bool,
        rotated: bool,
        hidden: int,
        scale: float | None,
        normalize: bool,
    ):
        super().__init__()
        places = math.prod(grid)
        self.pos_embed = nn.Parameter(torch.randn(1, places + registers, width) * POSITION_SCALE) if learned else None
        turns = rotation_of(grid, width // heads) if rotated else None
        self.register_buffer("rotation", turns, persistent=False)
        self.blocks = nn.ModuleList(Block(width, heads, hidden, registers, scale, normalize) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.passage = AllTokens(cell, registers, depth, grid, width, heads)

    def forward(self, tokens: Tensor, patches: Tensor) -> Tensor:
        """Tokens (B, N, C) of patches (B, I, Z, Y, X), leading ones without a cell included, to tokens."""
        if self.pos_embed is not None:
            tokens = tokens + self.pos_embed
        return self.norm(self.passage(self.blocks, tokens, self.rotation, patches))


class Primus(nn.Module):
    """Cells of voxels to tokens, an encoder, and every token to the logits of its cell.

    Args:
        input_channels: C.
        num_classes: L, channels of the logits.
        embed_dim, eva_depth, eva_numheads: Channels of a token, blocks, heads.
        patch_embed_size: Voxels (Z, Y, X) of a cell.
        input_shape: (Z, Y, X) of the patches, the only ones that it takes.
        num_register_tokens: Tokens beside those of the cells.
        use_rot_pos_emb, use_abs_pos_embed: How places are told.
        mlp_ratio: Channels inside a gated unit, relative to those of a token.
        init_values: Of the factors of what is added; None: there are none.
        scale_attn_inner: Whether what the heads give is normalized.
        ignored: Rates by which training drops things.

    Attributes:
        patch_shape: (Z, Y, X) of the patches.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        embed_dim: int,
        patch_embed_size: Sequence[int],
        input_shape: Sequence[int],
        eva_depth: int,
        eva_numheads: int,
        num_register_tokens: int = 0,
        use_rot_pos_emb: bool = True,
        use_abs_pos_embed: bool = True,
        mlp_ratio: float = 4 * 2 / 3,
        init_values: float | None = None,
        scale_attn_inner: bool = False,
        **ignored: Any,
    ):
        super().__init__()
        self.patch_shape = tuple(input_shape)
        cell = tuple(patch_embed_size)
        self.down_projection: nn.Module = PatchEmbed(cell, input_channels, embed_dim)
        self.up_projection = PatchDecode(cell, embed_dim, num_classes)
        self.eva = Encoder(
            embed_dim,
            eva_depth,
            eva_numheads,
            [side // voxels for side, voxels in zip(input_shape, cell, strict=True)],
            cell,
            num_register_tokens,
            use_abs_pos_embed,
            use_rot_pos_emb,
            int(embed_dim * mlp_ratio),
            init_values,
            scale_attn_inner,
        )
        self.register_buffer("mask_token", torch.zeros(1, 1, embed_dim))  # of pretraining; stands in checkpoints
        registers = torch.randn(1, num_register_tokens, embed_dim) * 1e-6
        self.register_tokens = nn.Parameter(registers) if num_register_tokens else None

    def forward(self, patches: Tensor) -> Tensor:
        """Patches (B, C, Z, Y, X) to logits (B, L, Z, Y, X)."""
        embedded = self.down_projection(patches)
        tokens = embedded.flatten(2).transpose(1, 2)
        if self.register_tokens is not None:
            tokens = torch.cat((self.register_tokens.expand(tokens.shape[0], -1, -1), tokens), dim=1)
        tokens = self.eva(tokens, patches)
        if self.register_tokens is not None:
            tokens = tokens[:, self.register_tokens.shape[1] :]
        return self.up_projection(tokens.transpose(1, 2).unflatten(2, embedded.shape[2:]))


class PrimusV2(Primus):
    """Primus whose cells are embedded by residual blocks, three of which halve the patch."""

    def __init__(self, input_channels: int, num_classes: int, embed_dim: int, **arguments: Any):
        from dynamic_network_architectures.building_blocks.patch_encode_decode import PatchEmbed_deeper

        super().__init__(input_channels, num_classes, embed_dim, **arguments)
        self.down_projection = PatchEmbed_deeper(input_channels, embed_dim)


class PrimusV3(Primus):
    """Primus whose cells are embedded by residual blocks of given widths, with short cuts to the tokens."""

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        embed_dim: int,
        depth_per_level: Sequence[int] = (1, 1, 1),
        ch_per_level: Sequence[int] = (32, 64, 256, 1024),
        add_skips: bool = True,
        **arguments: Any,
    ):
        from dynamic_network_architectures.building_blocks.patch_encode_decode import PatchEmbedDeeperControlled

        # As the class of dynamic_network_architectures has them, unlike those of its other versions
        arguments = {"init_values": 0.1, "scale_attn_inner": True, **arguments}
        super().__init__(input_channels, num_classes, embed_dim, **arguments)
        self.down_projection = PatchEmbedDeeperControlled(
            input_channels, embed_dim, tuple(depth_per_level), tuple(ch_per_level), add_skips
        )
