"""Which convolutions can be quantized, and why the others stay."""

from __future__ import annotations

import math

from torch import nn

from ..layers import convolutions
from ..trace import ANY_PATCH_SHAPE, Trace, trace


def quantizable(network: nn.Module, keep_pointwise: bool = True) -> tuple[str, ...]:
    """Paths of the convolutions that can be quantized, in the network's order.

    Args:
        network: Not touched; the meta device will do.
        keep_pointwise: Leave 1x1x1 convolutions out.
    """
    forward_pass = trace(network, ANY_PATCH_SHAPE)
    convs = convolutions(network)
    return tuple(path for path, conv in convs.items() if why_float(path, conv, forward_pass, keep_pointwise) is None)


def why_float(path: str, conv: nn.Module, forward_pass: Trace, keep_pointwise: bool) -> str | None:
    """Why a layer stays in floating point; None where it can be quantized."""
    calls = forward_pass.calls_of(path)
    if not calls:
        return "takes no part in the forward pass"
    if not conv.weight.is_floating_point():
        return f"its weights are {str(conv.weight.dtype).removeprefix('torch.')} already"
    if path == forward_pass.stem:
        return "first layer"
    if path in forward_pass.heads:
        return "output layer"
    if conv.transposed:
        return "transposed convolution: no faster in whole numbers"
    if conv.groups != 1:
        return f"grouped convolution (groups = {conv.groups})"
    if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        return "unusual padding"
    if len(calls) > 1:
        return "runs several times"
    if keep_pointwise and math.prod(conv.kernel_size) == 1:
        return "1x1x1 convolution"
    return None
