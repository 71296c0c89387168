"""A small U-Net that is computed in whole numbers of eight bits."""

from __future__ import annotations

import copy

import torch
from torch import nn

from TuckerSegLib.compression import int8

PATCH = (8, 8, 8)


class Block(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        norm = nn.InstanceNorm3d(outputs, affine=True)
        super().__init__(nn.Conv3d(inputs, outputs, 3, stride, padding=1), norm, nn.LeakyReLU(0.01))


class SmallUNet(nn.Module):
    """Two levels, one skip."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.down = Block(1, 8), Block(8, 16), Block(16, 24, 2)
        self.up, self.last, self.head = nn.ConvTranspose3d(24, 16, 2, 2), Block(32, 8), nn.Conv3d(8, 5, 1)

    def forward(self, patches):
        skip = self.second(self.first(patches))
        return self.head(self.last(torch.cat([self.up(self.down(skip)), skip], dim=1)))


def made() -> nn.Module:
    torch.manual_seed(3)
    network = SmallUNet()
    for block in (network.first, network.second, network.down, network.last):
        nn.init.uniform_(block[1].weight, 0.1, 4)  # channels of different sizes
        nn.init.normal_(block[1].bias)
    return network.eval().requires_grad_(False)


def patches_of(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    rough = [torch.randn(1, 1, 3, 3, 3, generator=generator) for _ in range(count)]
    return [nn.functional.interpolate(each, size=PATCH, mode="trilinear") for each in rough]


def prepared(network, calibration):
    return int8.prepare(network, int8.Spec(), calibration, lambda facts, make, read: read(make()))


def quantized(network, material, spec=None):
    changes = int8.plan(network, spec or int8.Spec(), PATCH, 1, [material])
    smaller = copy.deepcopy(network)
    int8.apply(smaller, changes, material)
    return smaller, changes
