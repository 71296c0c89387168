"""Rotary positions (Su et al. 2021, arXiv:2104.09864): pairs of a head's channels turned by angles that tell places."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

TEMPERATURE = 10000.0  # of the frequencies


def turned(channels: Tensor, rotation: Tensor, registers: int, halves: bool) -> Tensor:
    """Each pair of channels turned by its angle.

    Args:
        channels: (B, heads, registers + N, C / heads).
        rotation: (2, N or B x 1 x N, C / heads), sines and cosines.
        registers: Leading tokens that have no place.
        halves: Whether the first channels of all pairs come before the second ones; else the two of a pair are
            neighbours.
    """
    sines, cosines = rotation[0], rotation[1]
    placed = channels[:, :, registers:]
    if halves:
        first, second = placed.chunk(2, dim=-1)
        quarter_turn = torch.cat((-second, first), dim=-1)
    else:
        quarter_turn = torch.stack((-placed[..., 1::2], placed[..., ::2]), dim=-1).flatten(3)
    result = placed * cosines + quarter_turn * sines
    return torch.cat((channels[:, :, :registers], result), dim=2) if registers else result


def rotation_of(grid: Sequence[int], width: int) -> Tensor:
    """Sines and cosines by which pairs of a head's channels are turned: a third of the pairs by the place on each axis.

    It has values on the processor even where the network around it is being built on the meta device: no file has them.

    Args:
        grid: Places (Z, Y, X).
        width: Channels of a head, a multiple of 6.

    Returns:
        (2, places, width); both channels of a pair have the same values.
    """
    with torch.device("cpu"):
        frequencies = TEMPERATURE ** -(torch.arange(width // 6).float() / (width // 6))
        axes = torch.meshgrid([torch.arange(side).float() for side in grid], indexing="ij")
        angles = torch.stack(axes, dim=-1)[..., None] * frequencies
        angles = angles.reshape(math.prod(grid), -1).repeat_interleave(2, dim=1)
        return torch.stack((angles.sin(), angles.cos()))
