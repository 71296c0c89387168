"""What optimizers remember of channels goes with the channels."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from Testing.unit.prunable_networks import Skipping
from TuckerSegLib.compression.channel_graph import channel_graph
from TuckerSegLib.training.finetuning.settings import FineTuningSettings
from TuckerSegLib.training.pruning.cutting import cut
from TuckerSegLib.training.pruning.schedule import optimizer_of
from TuckerSegLib.training.pruning.settings import SauronSettings
from TuckerSegLib.training.tensor_states import moments_of, put_moments


def test_moments_are_cut_with_the_channels_by_hand():
    network = nn.Sequential(nn.Conv3d(1, 3, 1), nn.Conv3d(3, 2, 1))
    moments = {
        "0.weight/exp_avg": torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1, 1, 1),
        "0.weight/step": torch.tensor(7.0),
        "0.bias/exp_avg": torch.tensor([4.0, 5.0, 6.0]),
        "1.weight/exp_avg": torch.tensor([[10.0, 11.0, 12.0], [20.0, 21.0, 22.0]]).reshape(2, 3, 1, 1, 1),
        "1.weight/exp_avg_sq": torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]).reshape(2, 3, 1, 1, 1),
    }
    weight = network[1].weight.detach().clone()
    found = cut(network, channel_graph(network), {"0": [0, 2]}, moments)
    assert {name: each.flatten().tolist() for name, each in found.items()} == {
        "0.weight/exp_avg": [1, 3],
        "0.weight/step": [7],
        "0.bias/exp_avg": [4, 6],
        "1.weight/exp_avg": [10, 12, 20, 22],
        "1.weight/exp_avg_sq": pytest.approx([0.1, 0.3, 0.4, 0.6]),
    }
    assert torch.equal(network[1].weight, weight[:, [0, 2]]) and network[0].out_channels == 2


def test_moments_follow_channels_through_transposed_convolutions_and_concatenations():
    network = Skipping()
    moments = {
        "first.bias/exp_avg": torch.tensor([1.0, 2.0]),
        "up.weight/exp_avg": torch.arange(32.0).reshape(2, 2, 2, 2, 2),  # inputs, outputs
        "last.weight/exp_avg": torch.arange(4.0).reshape(1, 4, 1, 1, 1),  # of up, of first
    }
    found = cut(network, channel_graph(network), {"first": [0], "up": [1]}, moments)
    assert found["first.bias/exp_avg"].tolist() == [1]
    assert torch.equal(found["up.weight/exp_avg"], moments["up.weight/exp_avg"][:1, 1:])
    assert found["last.weight/exp_avg"].flatten().tolist() == [1, 2]


@pytest.mark.parametrize(("optimizer", "count"), [("adam", "step"), ("muon", "count")])
def test_an_optimizer_goes_on_with_cut_moments(optimizer, count):
    network = nn.Sequential(nn.Conv3d(1, 3, 1), nn.Conv3d(3, 1, 1))
    settings = SauronSettings(FineTuningSettings(optimizer=optimizer), "polynomial")
    optimizer = optimizer_of(network, settings)
    network(torch.rand(1, 1, 2, 2, 2)).sum().backward()
    optimizer.step()
    names = [name for name, _ in network.named_parameters()]
    before = moments_of(optimizer, names)
    after = cut(network, channel_graph(network), {"0": [1, 2]}, before)
    smaller = optimizer_of(network, settings)
    put_moments(smaller, names, after)
    network(torch.rand(1, 1, 2, 2, 2)).sum().backward()
    smaller.step()
    steps = [value for name, value in moments_of(smaller, names).items() if name.endswith(f"/{count}")]
    assert steps and all(step == 2 for step in steps)


def test_momentum_that_is_made_orthogonal_is_cut_with_the_channels():
    network = nn.Sequential(nn.Conv3d(8, 12, 1, bias=False), nn.Conv3d(12, 8, 1, bias=False))
    settings = SauronSettings(FineTuningSettings(optimizer="muon"))
    optimizer, names = optimizer_of(network, settings), ["0.weight", "1.weight"]
    network(torch.rand(1, 8, 2, 2, 2)).sum().backward()
    optimizer.step()
    before = moments_of(optimizer, names)
    assert set(before) == {"0.weight/momentum", "1.weight/momentum"}
    after = cut(network, channel_graph(network), {"0": list(range(2, 12))}, before)
    assert torch.equal(after["0.weight/momentum"], before["0.weight/momentum"][2:])
    assert torch.equal(after["1.weight/momentum"], before["1.weight/momentum"][:, 2:])
