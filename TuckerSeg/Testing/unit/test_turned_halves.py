"""Turning halves of a head's channels gives what turning neighbours gives."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from TuckerSegLib.nnunet.primus import Primus
from TuckerSegLib.nnunet.rotation import turned
from TuckerSegLib.nnunet.turned_halves import turn_halves

SHAPE = (8, 16, 8)
PATCH = torch.randn(1, 1, *SHAPE, generator=torch.Generator().manual_seed(1))


def small(registers: int = 0, **settings) -> Primus:
    torch.manual_seed(0)
    sizes = {"embed_dim": 24, "eva_depth": 2, "eva_numheads": 2, "patch_embed_size": (4, 4, 4)}
    network = Primus(1, 3, input_shape=SHAPE, num_register_tokens=registers, **sizes, **settings)
    for parameter in network.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape)
    return network.eval()


def test_a_quarter_turn_by_hand():
    # Pairs (1, 2) and (3, 4) by a quarter and by nothing; a register in front
    quarter = torch.tensor([[[1.0, 1, 0, 0]], [[0.0, 0, 1, 1]]])
    channels = torch.tensor([[[[9.0, 9, 9, 9], [1, 2, 3, 4]]]])
    assert turned(channels, quarter, 1, halves=False)[0, 0].tolist() == [[9, 9, 9, 9], [-2, 1, 3, 4]]
    order = [0, 2, 1, 3]
    found = turned(channels[..., order], quarter[..., order], 1, halves=True)
    assert found[0, 0].tolist() == [[9, 9, 9, 9], [-2, 3, 1, 4]]


@torch.no_grad()
@pytest.mark.parametrize("registers", [0, 2])
def test_the_network_says_the_same_and_whose_weights_it_had_keep_theirs(registers):
    network = small(registers)
    halves = copy.deepcopy(network)
    weights = halves.eva.blocks[1].attn.q_proj.weight
    before, rotation = weights.clone(), halves.eva.rotation
    turn_halves(halves)
    assert halves.eva.blocks[1].attn.halves and not torch.equal(halves.eva.rotation, rotation)
    assert torch.equal(weights, before) and not torch.equal(halves.eva.blocks[1].attn.q_proj.weight, before)
    assert torch.allclose(halves(PATCH), network(PATCH), atol=1e-5)
    turn_halves(halves)  # once is enough
    assert torch.allclose(halves(PATCH), network(PATCH), atol=1e-5)


@torch.no_grad()
def test_of_a_decomposed_layer_the_last_one_is_reordered():
    network = small()
    for block in network.eva.blocks:
        block.attn.k_proj = nn.Sequential(nn.Linear(24, 8, bias=False), nn.Linear(8, 24))
    expected = network(PATCH)
    turn_halves(network)
    assert network.eva.blocks[0].attn.halves and torch.allclose(network(PATCH), expected, atol=1e-5)


@torch.no_grad()
def test_what_cannot_be_reordered_or_is_not_turned_stays():
    network = small()
    network.eva.blocks[1].attn.q_proj = nn.Sequential(network.eva.blocks[1].attn.q_proj, nn.Identity())
    unturned = small(use_rot_pos_emb=False)
    for each in (network, unturned):
        expected = each(PATCH)
        turn_halves(each)
        assert not any(block.attn.halves for block in each.eva.blocks) and torch.equal(each(PATCH), expected)
