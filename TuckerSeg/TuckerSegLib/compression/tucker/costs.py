"""MACs and parameters of a convolution, dense and as Tucker-2."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from ...records.compression import Cost
from ..trace import Call


def dense_cost(conv: nn.Module, calls: Sequence[Call]) -> Cost:
    """Cost of a convolution as it is, for one patch.

    Args:
        conv: ``Conv3d``, ``ConvTranspose3d``, or the view of a linear layer.
        calls: Its runs in one forward pass, see ``Trace.calls_of``; without any it costs nothing.
    """
    if not calls:
        return Cost(0, 0)
    voxels_in, voxels_out = _voxels(calls)
    macs = conv.weight.numel() * (voxels_in if conv.transposed else voxels_out)
    return _cost(conv, sum(parameter.numel() for parameter in conv.parameters()), macs)


def tucker_cost(conv: nn.Module, ranks: tuple[int, int], calls: Sequence[Call], merged: bool = False) -> Cost:
    """Cost of the up to three layers in a convolution's place, for one patch.

    Args:
        conv: ``Conv3d`` or ``ConvTranspose3d``.
        ranks: (output rank r, input rank s).
        calls: Its runs in one forward pass, see ``Trace.calls_of``.
        merged: A factor at full rank is part of the core and costs nothing.
    """
    r, s = ranks
    voxels_in, voxels_out = _voxels(calls)
    squeeze = 0 if merged and s == conv.in_channels else conv.in_channels * s
    expand = 0 if merged and r == conv.out_channels else r * conv.out_channels
    core = s * r * math.prod(conv.kernel_size)
    bias = 0 if conv.bias is None else conv.out_channels
    core_voxels = voxels_in if conv.transposed else voxels_out
    macs = squeeze * voxels_in + core * core_voxels + expand * voxels_out
    return _cost(conv, squeeze + core + expand + bias, macs)


def _cost(conv: nn.Module, parameters: int, macs: int) -> Cost:
    """The cost of layers whose weights keep the convolution's type."""
    return Cost(parameters, macs, weight_bits=8 * conv.weight.element_size() * parameters)


def _voxels(calls: Sequence[Call]) -> tuple[int, int]:
    """Input and output voxels over all calls of a layer."""
    return (
        sum(_positions(call.input_shape) for call in calls),
        sum(_positions(call.output_shape) for call in calls),
    )


def _positions(shape: Sequence[int]) -> int:
    """Voxels of (1, C, Z, Y, X), or tokens of (1, ..., C)."""
    return math.prod(shape[2:] if len(shape) == 5 else shape[1:-1])
