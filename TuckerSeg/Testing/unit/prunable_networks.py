"""Small networks whose channels may be pruned, and patches for them."""

from __future__ import annotations

import torch
from torch import nn

PATCH = (12, 12, 12)


class Block(nn.Sequential):
    def __init__(self, inputs, outputs, stride=1, norm=nn.InstanceNorm3d):
        conv = nn.Conv3d(inputs, outputs, 3, stride, padding=1)
        super().__init__(conv, norm(outputs, affine=True), nn.LeakyReLU(0.01, inplace=True))


class SmallUNet(nn.Module):
    """One skip, one transposed convolution, one layer held under two names."""

    def __init__(self, norm=nn.InstanceNorm3d):
        super().__init__()
        self.stem, self.down = Block(1, 8, norm=norm), Block(8, 12, 2, norm=norm)
        self.inner, self.up = Block(12, 16, norm=norm), nn.ConvTranspose3d(16, 8, 2, 2)
        self.last, self.head = Block(16, 8, norm=norm), nn.Conv3d(8, 6, 1)
        self.alias = self.inner

    def forward(self, patches):
        skip = self.stem(patches)
        deep = self.up(self.alias(self.down(skip)))
        return self.head(self.last(torch.cat((deep, skip), 1)))


class Skipping(nn.Module):
    """Two channels, pooled and brought up again, beside themselves."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv3d(1, 2, 1)
        self.up = nn.ConvTranspose3d(2, 2, 2, stride=2, bias=False)
        self.last = nn.Conv3d(4, 1, 1)

    def forward(self, image):
        found = self.first(image)
        return self.last(torch.cat([self.up(nn.functional.avg_pool3d(found, 2)), found], dim=1))


def made(norm=nn.InstanceNorm3d):
    torch.manual_seed(3)
    network = SmallUNet(norm).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, norm):
            module.weight.copy_(torch.rand(module.num_features) + 0.2)
            module.bias.copy_(0.3 * torch.randn(module.num_features))
    return network


def patches_of(count):
    generator = torch.Generator().manual_seed(5)
    rough = [torch.randn(1, 1, 4, 4, 4, generator=generator) for _ in range(count)]
    return [nn.functional.interpolate(each, size=PATCH, mode="trilinear") for each in rough]


def keep(facts, make, read):
    return read(make())
