"""A compression method for the tests: drops the weakest inner channels of residual blocks, by magnitude.

All that the program needs to know of it is its line in ``compression.METHODS``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from TuckerSegLib.compression.cost import count
from TuckerSegLib.compression.layers import replace_modules
from TuckerSegLib.compression.trace import structure_of
from TuckerSegLib.errors import SpecError
from TuckerSegLib.records.compression import LayerChange


@dataclass(frozen=True)
class Spec:
    """How much is kept of the channels between a block's two convolutions."""

    VERSION: ClassVar[int] = 1

    kept: float = 0.5
    needs_calibration: ClassVar[bool] = False
    needs_weights: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 < self.kept <= 1:
            raise SpecError(f"kept should lie in (0, 1]; found {self.kept}")

    @classmethod
    def at(cls, strength):
        return cls(strength)


def prepare(network, spec, moments, keep, monitor):
    """Channels of every block, the strongest first."""

    def order():
        blocks, strongest = _blocks(network), {}
        for path, block in blocks.items():
            strongest[path] = block.conv1.conv.weight.flatten(1).norm(dim=1).argsort(descending=True)
            monitor.fraction(len(strongest) / len(blocks))
        return strongest

    return keep({"of": "order"}, order, dict)


def plan(network, spec, patch_shape, input_channels=None, materials=()):
    sizes = {path: block.conv1.conv.out_channels for path, block in _blocks(network).items()}
    kept = {path: max(1, math.ceil(size * spec.kept)) for path, size in sizes.items()}
    smaller = structure_of(network)
    for path, channels in kept.items():
        _drop(smaller, path, torch.arange(channels))
    before, after = (count(each, patch_shape, input_channels).layers for each in (network, smaller))
    return tuple(
        LayerChange(
            path=f"{path}.{inner}",
            kind=type(network.get_submodule(f"{path}.{inner}")).__name__,
            shape=tuple(network.get_submodule(f"{path}.{inner}").weight.shape),
            before=before[f"{path}.{inner}"],
            after=after[f"{path}.{inner}"],
            skipped_because=None if channels < sizes[path] else "all channels are kept",
            details={"block": path, "kept": channels},
        )
        for path, channels in kept.items()
        for inner in ("conv1.conv", "conv1.norm", "conv2.conv")
    )


def apply(network, changes, material=None):
    kept = {change.details["block"]: change.details["kept"] for change in changes if change.skipped_because is None}
    for path, channels in kept.items():
        places = torch.arange(channels) if material is None else material[path][:channels].sort().values
        _drop(network, path, places)


def describe(spec, changes):
    return f"channel dropping, {spec.kept:.2f} kept"


def _blocks(network):
    blocks = {path: module for path, module in network.named_modules() if hasattr(module, "conv2")}
    return {path: block for path, block in blocks.items() if isinstance(block.conv1.conv, nn.Conv3d)}


@torch.no_grad()
def _drop(network, path, places):
    """Keep some of the channels between the two convolutions of a block."""
    first, norm, second = (
        network.get_submodule(f"{path}.{inner}") for inner in ("conv1.conv", "conv1.norm", "conv2.conv")
    )
    new = [
        _like(first, out_channels=len(places)),
        type(norm)(len(places), eps=norm.eps, affine=True, device=norm.weight.device),
        _like(second, in_channels=len(places)),
    ]
    if not first.weight.is_meta:
        new[0].weight.copy_(first.weight[places]), new[0].bias.copy_(first.bias[places])
        new[1].weight.copy_(norm.weight[places]), new[1].bias.copy_(norm.bias[places])
        new[2].weight.copy_(second.weight[:, places]), new[2].bias.copy_(second.bias)
    replace_modules(network, dict(zip((first, norm, second), new)))


def _like(conv, **changed):
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
    settings = {name: getattr(conv, name) for name in names} | changed
    return nn.Conv3d(**settings, device=conv.weight.device)
