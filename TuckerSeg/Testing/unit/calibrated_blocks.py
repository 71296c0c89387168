"""Blocks of a network that is calibrated, and how far its logits move."""

from __future__ import annotations

import torch
from torch import nn

PATCH = (16, 16, 16)


class Block(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__(
            nn.Conv3d(inputs, outputs, 3, stride, padding=1),
            nn.InstanceNorm3d(outputs, affine=True),
            nn.LeakyReLU(0.01),
        )


def made() -> nn.Module:
    torch.manual_seed(3)
    layers = [Block(1, 16), Block(16, 24), Block(24, 32, 2), nn.ConvTranspose3d(32, 16, 2, 2), Block(16, 16)]
    return nn.Sequential(*layers, nn.Conv3d(16, 9, 1)).eval().requires_grad_(False)


def patches_of(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    rough = [torch.randn(1, 1, 4, 4, 4, generator=generator) for _ in range(count)]
    return [nn.functional.interpolate(each, size=PATCH, mode="trilinear") for each in rough]


def logit_error(first: nn.Module, second: nn.Module, patches) -> float:
    """Mean squared difference of centered logits, relative to their energy."""
    difference = energy = 0.0
    for patch in patches:
        expected, found = first(patch), second(patch)
        expected, found = (each - each.mean(dim=1, keepdim=True) for each in (expected, found))
        difference += float((found - expected).square().sum())
        energy += float(expected.square().sum())
    return difference / energy
