"""Small networks to measure: each has one kind of layer several times over, on the sizes that U-Nets have."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ..compression.int8.layers import rounded_plainly

RANGE = (-0.05, 5.0)  # of what a norm and LeakyReLU give
WHOLE_KINDS = ("kernel", "strided", "pointwise")


@dataclass(frozen=True)
class Probe:
    """A network to measure.

    Attributes:
        layers: Kind of each layer after the first: ``kernel``, ``strided``, ``pointwise``, ``transposed``, or ``skip``
            (two 1x1x1 convolutions side by side, concatenated).
        channels: Output channels of the first layer and of each after it.
        size: Voxels of the patch along each axis.
        norms: Whether a norm and an activation follow each convolution.
        whole: Whether convolutions after the first compute with whole numbers of eight bits.
    """

    layers: tuple[str, ...]
    channels: tuple[int, ...]
    size: int
    norms: bool = True
    whole: bool = False

    @property
    def patch_shape(self) -> tuple[int, int, int]:
        """(Z, Y, X)."""
        return (self.size,) * 3

    def network(self) -> nn.Module:
        """The network, (1, 1, Z, Y, X) to (1, C, z, y, x), with whatever weights torch draws."""
        modules, before = [], 1
        for kind, channels in zip(("first", *self.layers), self.channels, strict=True):
            layer = _layer(kind, before, channels)
            modules.append(rounded_plainly(layer, *RANGE) if self.whole and kind in WHOLE_KINDS else layer)
            if self.norms:
                modules += [nn.InstanceNorm3d(channels, affine=True), nn.LeakyReLU(0.01)]
            before = channels
        return nn.Sequential(*modules).eval()


_FACTORS = ((32, 16, 96), (128, 64, 32), (256, 128, 16))  # wide and narrow channels, and voxels along an axis


def _probes() -> tuple[Probe, ...]:
    """Every kind of layer at full, half, quarter and eighth resolution, wide and narrow, with norms and without."""
    probes = []
    for size, wide, narrow in ((96, 32, 16), (64, 64, 32), (32, 128, 64), (16, 256, 128), (8, 320, 160)):
        kinds = ("kernel", "kernel", "kernel")
        probes += [Probe(kinds, (wide,) * 4, size), Probe(kinds[:1], (narrow,) * 2, size, norms=False)]
        probes.append(Probe(("pointwise", "kernel", "pointwise") * 2, (wide, *(narrow, narrow, wide) * 2), size))
        probes.append(Probe(("strided", "transposed"), (narrow, wide, narrow), size, norms=False))
        probes.append(Probe(("skip", "kernel"), (narrow, wide, narrow), size))
        probes.append(Probe(kinds, (wide,) * 4, size, whole=True))
        probes.append(Probe(("strided", "kernel"), (narrow, wide, narrow), size, whole=True))
    probes.append(Probe((), (32,), 96, norms=False))
    probes += [
        Probe(("pointwise", "kernel"), (wide, narrow, wide), size, whole=True) for wide, narrow, size in _FACTORS
    ]
    probes.append(Probe(("pointwise",) * 3, (24, 8, 32, 16), 96, norms=False))
    return tuple(probes)


class _Skip(nn.Module):
    """Two 1x1x1 convolutions of the same input, side by side."""

    def __init__(self, before: int, channels: int):
        super().__init__()
        self.halves = nn.ModuleList(nn.Conv3d(before, channels // 2, 1) for _ in range(2))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """(B, before, Z, Y, X) to (B, channels, Z, Y, X)."""
        return torch.cat([half(values) for half in self.halves], dim=1)


def _layer(kind: str, before: int, channels: int) -> nn.Module:
    if kind == "skip":
        return _Skip(before, channels)
    if kind == "transposed":
        return nn.ConvTranspose3d(before, channels, 2, 2)
    if kind == "pointwise":
        return nn.Conv3d(before, channels, 1)
    return nn.Conv3d(before, channels, 3, 2 if kind == "strided" else 1, 1)


PROBES = _probes()
