"""How much work a layer is, in the terms that decide its time: multiply-accumulates, values moved, passes of norms.

The terms of a convolution begin with its kind. Processors compute channels in blocks, so channels count as the next
multiple of 16. What a unit of a term costs is measured elsewhere and comes as ``LayerTimes``; the sum over a network's
layers is its time. A transposed convolution's last factor and a concatenation that feed 1x1x1 convolutions cost
nothing where a backend merges them; both are counted as if it did not, so that a time is rather too long.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ..records.layer_times import Work
from .trace import NORMS, Call, trace

BLOCK = 16  # channels that are computed at once
FEW_CHANNELS = 4  # up to so many input channels a layer reads voxels as they lie in memory, and is the network's first
GATHERED = "gathered.values"  # beside the network, but of every patch
WHOLE = "int8."  # before the terms of convolutions in whole numbers
KINDS = ("first", "kernel", "strided", "pointwise", "transposed")


def kind_of(conv: nn.Module) -> str:
    """The kind of a convolution, one of ``KINDS``."""
    if conv.transposed:
        return "transposed"
    if math.prod(conv.kernel_size) == 1 and math.prod(conv.stride) == 1:
        return "pointwise"
    if conv.in_channels <= FEW_CHANNELS:
        return "first"
    return "kernel" if math.prod(conv.stride) == 1 else "strided"


def convolution_work(
    kind: str, in_channels: int, out_channels: int, taps: int, voxels_in: int, voxels_out: int
) -> dict[str, float]:
    """The work of one convolution of a patch.

    Args:
        kind: One of ``KINDS``.
        in_channels, out_channels: Of the layer.
        taps: Of its kernel.
        voxels_in, voxels_out: Of its input and its output.

    Returns:
        10^9 multiply-accumulates, 10^6 values read and written, and the layer itself.
    """
    read = in_channels if kind == "first" else blocked(in_channels)
    written = blocked(out_channels)
    positions = voxels_in if kind == "transposed" else voxels_out
    return {
        f"{kind}.gmacs": read * written * taps * positions / 1e9,
        f"{kind}.read": read * voxels_in / 1e6,
        f"{kind}.written": written * voxels_out / 1e6,
        "layers": 1.0,
    }


def whole_work(work: Work) -> dict[str, float]:
    """The work of a convolution in whole numbers of eight bits, from that of the same in floating point."""
    return {WHOLE + term: amount for term, amount in work.items()}


def norm_work(channels: int, voxels: int) -> dict[str, float]:
    """The work of a normalization and the activation behind it: 10^6 values, and the layer itself."""
    return {"norm.values": blocked(channels) * voxels / 1e6, "layers": 1.0}


def concatenation_work(channels: int, voxels: int) -> dict[str, float]:
    """The work of a concatenation: 10^6 values that are moved."""
    return {"concatenation.values": blocked(channels) * voxels / 1e6}


def gathering_work(channels: int, voxels: int) -> dict[str, float]:
    """The work of adding what a network gives for a patch to what overlapping patches gave: 10^6 values."""
    return {GATHERED: channels * voxels / 1e6}


def network_work(network: nn.Module, patch_shape: Sequence[int], input_channels: int | None = None) -> Work:
    """The work of one patch, by a pass on shapes alone; touches neither weights nor network.

    Args:
        network: From (B, C, Z, Y, X); on the meta device, too.
        patch_shape: (Z, Y, X) in voxels.
        input_channels: C; None takes the input channels of the network's first convolution.

    Raises:
        SpecError: The network cannot take such a patch.
    """
    joined = _Concatenations()
    with joined:
        forward_pass = trace(network, patch_shape, input_channels)
    total: Counter[str] = Counter()
    for call in forward_pass.calls:
        total.update(_work_of_call(network.get_submodule(call.path), call))
    total["pointwise.gmacs"] += sum(forward_pass.product_macs.values()) / 1e9
    for shape in joined.shapes:
        total.update(concatenation_work(shape[1], math.prod(shape[2:])))
    return dict(total)


def blocked(channels: int) -> int:
    """Channels as they are computed: the next multiple of the block."""
    return -(-channels // BLOCK) * BLOCK


def _work_of_call(module: nn.Module, call: Call) -> dict[str, float]:
    voxels_in, voxels_out = math.prod(call.input_shape[2:]), math.prod(call.output_shape[2:])
    if isinstance(module, NORMS):
        return norm_work(call.output_shape[1], voxels_out)
    if isinstance(module, nn.Linear):
        tokens = math.prod(call.output_shape[1:-1])
        return convolution_work("pointwise", module.in_features, module.out_features, 1, tokens, tokens)
    taps = math.prod(module.kernel_size)
    work = convolution_work(kind_of(module), module.in_channels, module.out_channels, taps, voxels_in, voxels_out)
    return work if module.weight.is_floating_point() else whole_work(work)


class _Concatenations(TorchFunctionMode):
    """Notes the shape (0, C, Z, Y, X) of everything that is concatenated along the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if function in (torch.cat, torch.concat, torch.concatenate) and result.ndim > 2:
            self.shapes.append(tuple(result.shape))
        return result
