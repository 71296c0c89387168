"""One round of a pruning while training: what is alike, what it may cost, and what readers make up for."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from TuckerSegLib.compression.channel_graph import channel_graph
from TuckerSegLib.records.serialization import from_json, to_json
from TuckerSegLib.training.pruning.cutting import cut
from TuckerSegLib.training.pruning.likeness import distances
from TuckerSegLib.training.pruning.rounds import affordable, alike, reader_moments
from TuckerSegLib.training.pruning.settings import SauronSettings


@pytest.fixture
def network():
    """Two layers of four channels; the second channel of the first is three times its first."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 4, 1), nn.ReLU(), nn.Conv3d(4, 2, 1))
    with torch.no_grad():
        layers[0].weight[1], layers[0].bias[1] = 3 * layers[0].weight[0], 3 * layers[0].bias[0]
    return layers


@pytest.fixture
def images():
    return [torch.randn(2, 1, 6, 6, 6, generator=torch.Generator().manual_seed(number)) for number in range(3)]


def test_a_layer_that_loses_no_channel_is_not_told(network, images):
    graph = channel_graph(network)
    found = alike(network, graph, images, {"0": 0, "2": 1}, {"0": 0.01, "2": 1e-6})
    assert found == {"0": [[0, 2, 3]]}  # scaled to 0..1 the second is the first


@pytest.mark.parametrize("compensated", [False, True])
@torch.no_grad()
def test_readers_make_up_for_a_channel_that_another_foretells(network, images, compensated):
    graph, before = channel_graph(network), network(images[0]).detach()
    made_up = reader_moments(network, graph, images) if compensated else None
    cut(network, graph, {"0": [0, 2, 3]}, {}, made_up)
    error = float((network(images[0]) - before).norm() / before.norm())
    assert network[2].in_channels == 3
    assert error < 0.01 if compensated else error > 0.05


def test_moments_are_those_of_what_readers_read_by_hand(network, images):
    moments = reader_moments(network, channel_graph(network), images[:1])
    read = network[1](network[0](images[0])).transpose(0, 1).flatten(1).double()
    expected = (read @ read.T).detach()
    found = moments.layers["2"].inputs
    off = ~torch.eye(4, dtype=torch.bool)
    assert torch.allclose(found[off], expected[off].detach(), rtol=1e-4)
    assert torch.allclose(
        found.diagonal(), (expected.diagonal() + 0.01 * expected.diagonal().mean()).detach(), rtol=1e-4
    )


def test_layers_keep_what_would_cost_too_much_and_those_that_lose_most_come_first(network):
    graph, asked = channel_graph(network), []

    def dice(tried) -> float:
        asked.append((tried[0].out_channels, tried[2].out_channels))
        return 0.9 - 0.1 * (4 - tried[0].out_channels) - 0.03 * (4 - tried[2].out_channels)

    kept = {"0": [0, 1, 2], "2": [1, 3]}
    tries = {path: [places] for path, places in kept.items()}
    assert affordable(network, graph, tries, None, dice, 0.07) == {"2": [1, 3]}
    assert asked == [(4, 4), (4, 2), (3, 2)]  # together with what was chosen before
    assert affordable(network, graph, tries, None, dice, 0.17) == kept
    assert affordable(network, graph, tries, None, dice, 0.0) == {}
    assert network[0].out_channels == network[2].out_channels == 4
    halved = {"0": [[0], [0, 2, 3]], "2": [[1, 3], [1, 2, 3]]}
    assert affordable(network, graph, halved, None, dice, 0.13) == {"0": [0, 2, 3], "2": [1, 2, 3]}


def test_every_try_of_a_layer_asks_for_half_as_many_of_the_nearest_channels(network, images):
    references, limits = {"0": 0, "2": 1}, {"0": 1.1, "2": 1e-6}
    first, second = alike(network, channel_graph(network), images, references, limits, tries=3)["0"]
    far = distances(network, channel_graph(network), images, references)["0"]
    assert first == [0] and len(second) == 3  # three that are near, one, none
    assert set(range(4)) - set(second) == {min((1, 2, 3), key=far.tolist().__getitem__)}


def test_settings_that_leave_rounds_alone_are_written_as_before():
    assert not {"compensate", "round_loss"} & to_json(SauronSettings()).keys()
    told = SauronSettings(compensate=True, round_loss=0.02)
    assert from_json(SauronSettings, json.loads(json.dumps(to_json(told)))) == told
