"""Cells that are decoded by products are what transposed convolutions make of them."""

from __future__ import annotations

import pytest
import torch
from dynamic_network_architectures.building_blocks.patch_encode_decode import PatchDecode
from torch import nn

from TuckerSegLib.compression.layers import replace_modules
from TuckerSegLib.nnunet.cell_decoder import CellDecoder, decoders_by_products


def decoder_of(cell: tuple[int, ...]) -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(PatchDecode(cell, 24, 3)).eval()
    for parameter in network.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape)
    return network


@torch.no_grad()
@pytest.mark.parametrize("cell", [(8, 8, 8), (2, 8, 4), (2, 2, 2)])
def test_voxels_are_the_same_and_at_the_same_places(cell):
    network, cells = decoder_of(cell), torch.randn(2, 24, 2, 3, 1, generator=torch.Generator().manual_seed(1))
    expected = network(cells)
    replace_modules(network, decoders_by_products(network))
    assert type(network[0]) is CellDecoder and expected.shape[2:] == (2 * cell[0], 3 * cell[1], cell[2])
    assert torch.allclose(network(cells), expected, atol=1e-5)
    traced = torch.jit.trace(network, cells, check_trace=False)
    assert torch.allclose(traced(cells), expected, atol=1e-5)


def test_a_decoder_of_other_layers_stays():
    network = decoder_of((4, 4, 4))
    network[0].decode[0][0] = nn.Sequential(network[0].decode[0][0])
    replace_modules(network, decoders_by_products(network))
    assert type(network[0]) is PatchDecode
