"""Blocks of a network that is calibrated, and how far its logits move."""

from __future__ import annotations

from torch import nn

PATCH = (16, 16, 16)


class Block(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__(
            nn.Conv3d(inputs, outputs, 3, stride, padding=1),
            nn.InstanceNorm3d(outputs, affine=True),
            nn.LeakyReLU(0.01),
        )


def logit_error(first: nn.Module, second: nn.Module, patches) -> float:
    """Mean squared difference of centered logits, relative to their energy."""
    difference = energy = 0.0
    for patch in patches:
        expected, found = first(patch), second(patch)
        expected, found = (each - each.mean(dim=1, keepdim=True) for each in (expected, found))
        difference += float((found - expected).square().sum())
        energy += float(expected.square().sum())
    return difference / energy
