"""A compression method for the tests: weights of convolutions as whole numbers of eight bits, one scale per channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from TuckerSegLib.compression.cost import count
from TuckerSegLib.compression.layers import convolutions, replace_modules
from TuckerSegLib.compression.trace import structure_of, trace
from TuckerSegLib.records.compression import LayerChange


@dataclass(frozen=True)
class Spec:
    """There is nothing to set."""

    VERSION: ClassVar[int] = 1
    needs_calibration: ClassVar[bool] = False
    needs_weights: ClassVar[bool] = False

    @classmethod
    def at(cls, strength):
        return cls()


class EightBitConv3d(nn.Conv3d):
    """Holds whole numbers and scales."""

    def __init__(self, conv):
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,
            conv.stride,
            conv.padding,
            conv.dilation,
            bias=conv.bias is not None,
            device=conv.weight.device,
        )
        self.bias = conv.bias
        scale = conv.weight.detach().abs().amax(dim=(1, 2, 3, 4), keepdim=True) / 127
        whole = (conv.weight.detach() / scale.clamp(min=1e-12)).round().to(torch.int8)
        self.weight = nn.Parameter(whole, requires_grad=False)
        self.scale = nn.Parameter(scale, requires_grad=False)

    def forward(self, values):
        return self._conv_forward(values, self.weight.to(values.dtype) * self.scale, self.bias)


def prepare(network, spec, moments, keep, monitor):
    return None


def plan(network, spec, patch_shape, input_channels=None, materials=()):
    run = trace(network, patch_shape, input_channels)
    wanted = {
        path: conv
        for path, conv in convolutions(network).items()
        if isinstance(conv, nn.Conv3d) and path not in run.heads and run.calls_of(path)
    }
    smaller = structure_of(network)
    for path in wanted:
        _replace(smaller, path)
    before, after = (count(each, patch_shape, input_channels).layers for each in (network, smaller))
    return tuple(
        LayerChange(path, type(conv).__name__, tuple(conv.weight.shape), before[path], after[path])
        for path, conv in wanted.items()
    )


def apply(network, changes, material=None):
    for change in changes:
        _replace(network, change.path)


def describe(spec, changes):
    return f"eight bits, {len(changes)} layers"


def _replace(network, path):
    conv = network.get_submodule(path)
    replace_modules(network, {conv: EightBitConv3d(conv)})
