"""Cells decoded by matrix products, in place of transposed convolutions that give the same: faster on processors.

Every stage of Primus' decoder divides cells without a look at their neighbours. So it is a product of each cell with
one matrix, its channels last, as norms and products want them. What belongs to a voxel is brought to its place before
and after the last stage alone.
"""

from __future__ import annotations

import math

import torch
from dynamic_network_architectures.building_blocks.patch_encode_decode import LayerNormNd, PatchDecode
from torch import Tensor, nn


class CellDecoder(nn.Module):
    """What a ``PatchDecode`` computes, with its weights.

    Args:
        stages: Its transposed convolutions.
        norms: What normalizes channels after all but the last.
    """

    def __init__(self, stages: list[nn.ConvTranspose3d], norms: list[LayerNormNd]):
        super().__init__()
        self.norms = nn.ModuleList(norms)
        self.products = nn.ModuleList(_product(stage) for stage in stages)
        self.strides = [tuple(stage.stride) for stage in stages]

    def forward(self, cells: Tensor) -> Tensor:
        """Embeddings (B, C, Z, Y, X) of cells to logits (B, L, Z, Y, X) of voxels."""
        batch, channels, *grid = cells.shape
        values = cells.permute(0, 2, 3, 4, 1).reshape(-1, channels)
        for product, norm in zip(self.products, self.norms):
            values = product(values).reshape(-1, norm.weight.numel())
            values = nn.functional.gelu(_normalized(values, norm))
        values = _at_their_places(values, batch * grid[0], grid[1:], self.strides[:-1])
        grid = [size * math.prod(steps) for size, steps in zip(grid, zip(*self.strides[:-1]))] if self.norms else grid
        values = _at_their_places(self.products[-1](values), batch * grid[0], grid[1:], self.strides[-1:])
        sides = [size * step for size, step in zip(grid, self.strides[-1])]
        return values.reshape(batch, *sides, -1).permute(0, 4, 1, 2, 3)


def decoders_by_products(network: nn.Module) -> dict[PatchDecode, CellDecoder]:
    """What may stand for the decoders of cells in a network; not for one whose layers are others."""
    decoders = {module: _products_of(module) for module in network.modules() if type(module) is PatchDecode}
    return {module: decoder for module, decoder in decoders.items() if decoder is not None}


def _products_of(decoder: PatchDecode) -> CellDecoder | None:
    *inner, last = decoder.decode
    if not all(type(stage) is nn.Sequential and len(stage) == 3 for stage in inner):
        return None
    convolutions = [*(stage[0] for stage in inner), last]
    norms = [stage[1] for stage in inner]
    plain = all(type(each) is nn.ConvTranspose3d and each.kernel_size == each.stride for each in convolutions)
    usual = all(type(norm) is LayerNormNd and type(stage[2]) is nn.GELU for norm, stage in zip(norms, inner))
    return CellDecoder(convolutions, norms).train(decoder.training) if plain and usual else None


def _product(convolution: nn.ConvTranspose3d) -> nn.Linear:
    """From channels of a cell to those of all its parts, parts before channels."""
    weight = convolution.weight.detach().permute(2, 3, 4, 1, 0)  # parts (Z, Y, X), outputs, inputs
    product = nn.Linear(
        weight.shape[-1], math.prod(weight.shape[:-1]), bias=convolution.bias is not None, device="meta"
    )
    product.weight = nn.Parameter(weight.flatten(0, 3).contiguous(), requires_grad=False)
    if convolution.bias is not None:
        bias = convolution.bias.detach().repeat(math.prod(convolution.kernel_size))
        product.bias = nn.Parameter(bias, requires_grad=False)
    return product


def _normalized(values: Tensor, norm: LayerNormNd) -> Tensor:
    if not torch.jit.is_tracing():
        return nn.functional.layer_norm(values, values.shape[1:], norm.weight, norm.bias, norm.eps)
    centered = values - values.mean(dim=1, keepdim=True)  # OpenVINO takes this as it is faster than a norm of so few
    variance = centered.square().mean(dim=1, keepdim=True)
    return centered * torch.rsqrt(variance + norm.eps) * norm.weight + norm.bias


def _at_their_places(values: Tensor, first: int, others: list[int], steps: list[tuple[int, ...]]) -> Tensor:
    """Rows of cells, then of their parts, in the order of the places of all parts: (cells x parts, C).

    Args:
        values: As many as (first, *others, parts (Z, Y, X) of the first stage, of the next, ..., C).
        first, others: Cells along Z (of all patches) and along Y and X.
        steps: Parts of a cell along (Z, Y, X), per stage.
    """
    if not steps:
        return values
    channels = values.numel() // (first * math.prod(others) * math.prod(map(math.prod, steps)))
    values = values.reshape(first, *others, *(size for step in steps for size in step), channels)
    axes = [axis + 3 * stage for axis in range(3) for stage in range(len(steps) + 1)]
    return values.permute(*axes, values.ndim - 1).reshape(-1, channels)
