"""Sauron's distance and its ladder of thresholds, stopped by agreement."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from TuckerSegLib.compression.channel_graph import channel_graph
from TuckerSegLib.compression.pruning import sauron
from TuckerSegLib.compression.pruning.material import prepare
from TuckerSegLib.compression.pruning.method import apply, plan
from TuckerSegLib.compression.pruning.sauron import Ladder, climb, map_distances
from TuckerSegLib.compression.pruning.spec import Spec
from TuckerSegLib.errors import Cancelled, SpecError
from TuckerSegLib.monitor import Monitor

PATCH = (8, 8, 8)


def keep(facts, make, read):
    return read(make())


@pytest.fixture(scope="module")
def network():
    """Its first layer makes eight channels: four, and each of them again, larger and a little different."""
    torch.manual_seed(3)
    layers = [nn.Conv3d(1, 8, 3, padding=1), nn.InstanceNorm3d(8, affine=True), nn.LeakyReLU()]
    layers += [nn.Conv3d(8, 4, 3, padding=1), nn.InstanceNorm3d(4, affine=True), nn.LeakyReLU(), nn.Conv3d(4, 3, 1)]
    network = nn.Sequential(*layers).eval().requires_grad_(False)
    network[0].weight[4:] = 2 * network[0].weight[:4] + 1e-4
    return network


@pytest.fixture(scope="module")
def patches():
    return list(torch.randn(2, 1, 1, *PATCH, generator=torch.Generator().manual_seed(5)))


def test_a_distance_is_that_of_scaled_and_pooled_maps_relative_to_the_largest():
    maps = torch.rand(3, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    maps[1] = 5 * maps[0] - 2
    found = map_distances(maps, 0)
    scaled = [(each - each.min()) / (each.max() - each.min()) for each in maps]
    pooled = [each.reshape(2, 2, 2, 2, 2, 2).mean(dim=(1, 3, 5)) for each in scaled]
    expected = [float((each - pooled[0]).square().mean().sqrt()) for each in pooled]
    assert found.tolist() == pytest.approx([each / max(expected) for each in expected], abs=1e-5)
    assert found[1] < 1e-5 and found.max() == 1
    assert map_distances(torch.ones(2, 1, 4, 4), 1).tolist() == [0, 0]


def test_what_resembles_others_goes_until_the_labels_change(network, patches):
    graph = channel_graph(network)

    def climbed(agreement, is_enough=lambda kept: False):
        return climb(network, graph, patches, agreement, 1, is_enough)

    strict, loose, short = climbed(0.999), climbed(0.5), climbed(0.5, lambda kept: kept["0"] < 8)
    assert sum(loose.numbers.values()) < sum(strict.numbers.values()) <= 12
    assert loose.numbers["0"] < short.numbers["0"] < 8
    assert all(sorted(order) == list(range(len(order))) for order in loose.orders.values())
    assert climbed(0.5).numbers == loose.numbers, "the same seed climbs alike"


def test_after_a_round_that_is_too_much_half_as_many_are_tried(network, patches, monkeypatch):
    tried = []
    monkeypatch.setattr(sauron, "_alike", lambda distances, threshold, minimum: set(range(1, len(distances))))
    monkeypatch.setattr(sauron, "agreement_of_labels", lambda labels, expected: 0.0)
    plain = sauron.slice_network
    monkeypatch.setattr(
        sauron, "slice_network", lambda smaller, cut, moments: tried.append(cut) or plain(smaller, cut, moments)
    )
    ladder = climb(network, channel_graph(network), patches, 0.9, 1, lambda kept: False)
    assert ladder.numbers == {"0": 8, "3": 4}
    sizes = {"0": 8, "3": 4}
    assert [sum(sizes[path] - len(kept) for path, kept in cut.outputs.items()) for cut in tried] == [10, 5, 2, 1]


def test_thresholds_rise_to_the_top_and_no_further(network, patches, monkeypatch):
    heard = []
    monkeypatch.setattr(sauron, "_alike", lambda distances, threshold, minimum: heard.append(threshold) or set())
    ladder = climb(network, channel_graph(network), patches, 0.9, 1, lambda kept: False)
    assert ladder.numbers == {"0": 8, "3": 4}
    np.testing.assert_allclose(heard[::2], np.linspace(0.001, 0.3, 16))


def test_a_climb_is_stopped_within(network, patches):
    with pytest.raises(Cancelled):
        climb(
            network,
            channel_graph(network),
            patches,
            0.5,
            1,
            lambda kept: False,
            monitor=Monitor(cancelled=lambda: True),
        )


def test_the_policy_keeps_what_the_ladder_left_in_whole_multiples(network, patches):
    spec = Spec(0.3, "sauron", multiple=2, minimum=2, agreement=0.5)
    material = prepare(network, spec, None, keep, patches=lambda: patches)
    assert all(kept % 2 == 0 for kept in material.numbers.values())
    changes = plan(network, spec, PATCH, materials=[material])
    smaller = copy.deepcopy(network)
    apply(smaller, changes, material)
    assert smaller[0].out_channels == material.numbers["0"] < 8
    assert smaller(patches[0]).shape == (1, 3, *PATCH)
    with pytest.raises(SpecError, match="needs one"):
        prepare(network, spec, None, keep)


def test_a_ladder_survives_its_tensors_and_a_damaged_one_is_refused(network, patches):
    ladder = climb(network, channel_graph(network), patches, 0.5, 1, lambda kept: False)
    tensors = ladder.to_tensors()
    again = Ladder.from_tensors(tensors)
    assert again.numbers == ladder.numbers
    for damaged in ({"0/order": torch.zeros(8, dtype=torch.long)}, {"0/number": torch.tensor([9])}):
        with pytest.raises(ValueError):
            Ladder.from_tensors({**tensors, **damaged})
