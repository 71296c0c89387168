"""Filter pruning: which channels go, what readers make up for, and what that is told to cost."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from Testing.unit.prunable_networks import PATCH, keep, made, patches_of
from TuckerSegLib.compression.calibration import calibrate
from TuckerSegLib.compression.channel_graph import channel_graph
from TuckerSegLib.compression.cost import count
from TuckerSegLib.compression.logit_distance import distance
from TuckerSegLib.compression.pruning.allocation import spread
from TuckerSegLib.compression.pruning.material import prepare
from TuckerSegLib.compression.pruning.merging import clusters_of
from TuckerSegLib.compression.pruning.method import apply, plan
from TuckerSegLib.compression.pruning.moments import positive_root
from TuckerSegLib.compression.pruning.slicing import Cut, slice_network
from TuckerSegLib.compression.pruning.spec import Spec
from TuckerSegLib.compression.tucker.calibrated_basis import CalibratedBasis
from TuckerSegLib.errors import SpecError

GROUPS = ("stem.0", "down.0", "inner.0", "up", "last.0")


@pytest.fixture(scope="module")
def network():
    return made()


@pytest.fixture(scope="module")
def patches():
    return patches_of(2)


@pytest.fixture(scope="module")
def calibration(network, patches):
    return calibrate(network, patches)


@pytest.fixture(scope="module")
def material(network, calibration):
    return prepare(network, Spec(), calibration, keep)


def pruned(network, spec, material):
    changes = plan(network, spec, PATCH, materials=[material])
    smaller = copy.deepcopy(network)
    apply(smaller, changes, material)
    return smaller, changes


def test_errors_are_foretold_as_the_logits_show_them(network, patches, material):
    foretold, measured = [], []
    for path in GROUPS:
        for kept in (4, 6):
            smaller, _ = pruned(network, Spec(channels={path: kept}), material)
            foretold.append(material.evidence.errors[path][kept])
            measured.append(distance(network, smaller, patches))
    ratios = np.array(measured) / np.array(foretold)
    assert (ratios > 1 / 3).all() and (ratios < 3).all()
    assert np.corrcoef(np.argsort(np.argsort(foretold)), np.argsort(np.argsort(measured)))[0, 1] > 0.9


def test_a_trial_sets_errors_right(network, calibration, patches, material):
    spec = Spec(0.6, "probed", multiple=2, minimum=2)
    tried = prepare(network, spec, calibration, keep, patches=lambda: patches)
    for path, order in material.evidence.orders.items():
        channels = int(0.75 * len(order))
        smaller, _ = pruned(network, Spec(channels={path: channels}), material)
        found = distance(network, smaller, patches)
        assert tried.evidence.errors[path][channels] == pytest.approx(found, rel=1e-3)
        ratio = tried.evidence.errors[path][1:-1] / material.evidence.errors[path][1:-1]
        np.testing.assert_allclose(ratio, ratio[0])
    changes = plan(network, spec, PATCH, materials=[tried])
    assert any(change.details for change in changes)
    with pytest.raises(SpecError, match="'probed' tries"):
        prepare(network, spec, calibration, keep)


def test_an_error_has_the_unit_of_tuckers(network, calibration, material):
    """All channels gone is all of their reader's weight gone."""
    basis = CalibratedBasis.from_network(network, calibration)
    for path, reader in (("down.0", "inner.0"), ("last.0", "head")):
        whole = basis.layer(reader).energy / calibration.logit_energy
        assert material.evidence.errors[path][0] == pytest.approx(whole, rel=0.02)


def test_a_moment_that_rounding_left_without_a_root_gets_a_larger_ridge():
    values = torch.randn(40, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    moment = values @ values.T
    moment -= 1e-4 * torch.eye(40)
    lower = positive_root(moment)
    assert lower.isfinite().all()
    torch.testing.assert_close(lower @ lower.T, moment, atol=0.01, rtol=0)


def test_errors_grow_with_every_channel_that_goes(material):
    for path, errors in material.evidence.errors.items():
        assert errors[-1] == 0 and (np.diff(errors) <= 0).all(), path
        assert sorted(material.evidence.orders[path]) == list(range(len(errors) - 1))


def test_readers_make_up_for_what_is_gone(network, patches, material):
    graph = channel_graph(network)
    kept = {path: material.evidence.kept(path, 6) for path in ("stem.0", "inner.0", "up")}
    errors = []
    for moments in (material.moments, None):
        smaller = copy.deepcopy(network)
        slice_network(smaller, Cut(graph, kept), moments)
        errors.append(distance(network, smaller, patches))
    assert errors[0] < 0.8 * errors[1]


def test_channels_that_others_replace_exactly_cost_nothing(patches):
    """Every channel has a twin, larger or smaller: the borders of zeros around a map are alike, too."""
    network = made()
    for conv, norm, _ in (network.stem, network.down, network.inner, network.last):
        half = conv.out_channels // 2
        conv.weight[half:], conv.bias[half:] = 2 * conv.weight[:half], -conv.bias[:half]
        gain = torch.linspace(0.5, 2, half)
        norm.weight[half:], norm.bias[half:] = gain * norm.weight[:half], gain * norm.bias[:half]
    network.up.weight[:, 4:], network.up.bias[4:] = 3 * network.up.weight[:, :4], 3 * network.up.bias[:4]
    material = prepare(network, Spec(), calibrate(network, patches), keep)
    halves = {path: len(order) // 2 for path, order in material.evidence.orders.items()}
    smaller, _ = pruned(network, Spec(channels=halves), material)
    assert count(smaller, PATCH).total.macs < 0.3 * count(network, PATCH).total.macs
    for patch in patches:
        torch.testing.assert_close(smaller(patch), network(patch), atol=1e-4, rtol=0)


def test_all_channels_kept_is_the_same_network(network, material):
    changes = plan(network, Spec(1.0), PATCH)
    assert all(change.skipped_because for change in changes)
    smaller = copy.deepcopy(network)
    apply(smaller, changes, material)
    assert all(torch.equal(*pair) for pair in zip(smaller.parameters(), network.parameters(), strict=True))


@pytest.mark.parametrize("norm", [nn.InstanceNorm3d, nn.BatchNorm3d])
@pytest.mark.parametrize("spec", [Spec(0.5, "uniform", multiple=2, minimum=2), Spec(channels={"up": 3, "inner.0": 5})])
def test_what_is_planned_is_what_is_counted_and_the_structure_is_that_of_the_weights(norm, spec):
    network = made(norm)
    material = prepare(network, spec, None, keep)
    smaller, changes = pruned(network, spec, material)
    before, after = count(network, PATCH).total, count(smaller, PATCH).total
    assert sum((change.after - change.before for change in changes), before) == after
    assert after.norm_elements < before.norm_elements and after.parameters < before.parameters
    structure = copy.deepcopy(network).to("meta")
    apply(structure, changes)
    assert {name: each.shape for name, each in structure.state_dict().items()} == {
        name: each.shape for name, each in smaller.state_dict().items()
    }
    assert smaller.alias is smaller.inner
    assert smaller(torch.zeros(1, 1, *PATCH)).shape == (1, 6, *PATCH)


def test_the_budget_is_that_of_the_same_share_everywhere_and_its_error_smaller(network, patches, material):
    settings = {"multiple": 2, "minimum": 2}
    for budget in ("macs", "parameters"):
        found = {}
        for policy in ("uniform", "calibrated"):
            smaller, _ = pruned(network, Spec(0.6, policy, budget, **settings), material)
            cost = count(smaller, PATCH).total
            found[policy] = (getattr(cost, budget), distance(network, smaller, patches))
        assert 0.75 * found["uniform"][0] < found["calibrated"][0] <= found["uniform"][0]
        assert found["calibrated"][1] < found["uniform"][1]


@pytest.mark.parametrize("norm", [nn.InstanceNorm3d, nn.BatchNorm3d])
def test_filters_that_are_the_same_are_merged_without_loss(norm, patches):
    network = made(norm)
    for conv, after, _ in (network.stem, network.down, network.inner, network.last):
        half = conv.out_channels // 2
        for tensor in (conv.weight, conv.bias, after.weight, after.bias):
            tensor[half:] = tensor[:half]
    network.up.weight[:, 4:], network.up.bias[4:] = network.up.weight[:, :4], network.up.bias[:4]
    before = copy.deepcopy(network.state_dict())
    shared = copy.copy(network)  # another network of the same tensors, which must not change
    shared._modules = copy.deepcopy(network, {id(each): each for each in network.parameters()})._modules
    spec = Spec(0.5, "merge", multiple=2, minimum=2)
    changes = plan(network, spec, PATCH)
    assert sorted(change.details["kept"] for change in changes if change.details) == [4, 4, 4, 6, 8]
    apply(shared, changes, prepare(network, spec, None, keep))
    for patch in patches:
        torch.testing.assert_close(shared(patch), network(patch), atol=1e-4, rtol=0)
    assert all(torch.equal(each, before[name]) for name, each in network.state_dict().items())


def test_clusters_hold_filters_that_are_near(network):
    network = copy.deepcopy(network)
    network.inner[0].weight[8:] = 1.01 * network.inner[0].weight[:8]
    clusters = clusters_of(network, channel_graph(network).groups["inner.0"], 8)
    assert clusters == [[place, place + 8] for place in range(8)]
    assert not Spec(0.5, "merge").needs_calibration and not Spec(0.5, "merge").needs_weights


def test_by_weights_alone_twins_go_first(network):
    network = copy.deepcopy(network)
    network.inner[0].weight[8:], network.inner[0].bias[8:] = network.inner[0].weight[:8], network.inner[0].bias[:8]
    network.inner[1].weight[8:], network.inner[1].bias[8:] = network.inner[1].weight[:8], network.inner[1].bias[:8]
    errors = prepare(network, Spec(), None, keep).evidence.errors["inner.0"]
    assert errors[8] < 1e-3 * errors[7]


def test_a_dearer_exchange_is_taken_where_it_saves_more_per_error():
    steps = {"a": [8, 4], "b": [8, 4]}
    errors = {"a": np.linspace(0.8, 0, 9), "b": np.linspace(0.4, 0, 9)}
    assert spread(steps, errors, lambda kept: kept["a"] + kept["b"], 12) == {"a": 8, "b": 4}
    assert spread(steps, errors, lambda kept: 10 * kept["a"] + kept["b"], 60) == {"a": 4, "b": 8}
    assert spread(steps, errors, lambda kept: kept["a"] + kept["b"], 1) == {"a": 4, "b": 4}
