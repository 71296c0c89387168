"""Calibrated compression: moments, the factors that minimize their norm, and ranks spread by it."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn

from TuckerSegLib.compression.calibration import Calibration, LayerMoments, calibrate
from TuckerSegLib.compression.sampling import neighborhoods, sample_positions
from TuckerSegLib.compression.tucker.basis import decompose
from TuckerSegLib.compression.tucker.calibrated_basis import CalibratedBasis
from TuckerSegLib.compression.tucker.details import TuckerDetails
from TuckerSegLib.compression.tucker.material import Material, prepare
from TuckerSegLib.compression.tucker.method import Spec, apply, plan
from TuckerSegLib.compression.tucker.rank_allocation import RankChoice, allocate, rank_steps, total_cost, total_error
from TuckerSegLib.compression.tucker.whitening import WhitenedLayer
from TuckerSegLib.errors import ModelFileError, SpecError

pytestmark = pytest.mark.slow

PATCH = (16, 16, 16)


class Block(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__(
            nn.Conv3d(inputs, outputs, 3, stride, padding=1),
            nn.InstanceNorm3d(outputs, affine=True),
            nn.LeakyReLU(0.01),
        )


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(3)
    layers = [Block(1, 16), Block(16, 24), Block(24, 32, 2), nn.ConvTranspose3d(32, 16, 2, 2), Block(16, 16)]
    return nn.Sequential(*layers, nn.Conv3d(16, 9, 1)).eval().requires_grad_(False)


@pytest.fixture
def patches() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    rough = [torch.randn(1, 1, 4, 4, 4, generator=generator) for _ in range(3)]
    return [nn.functional.interpolate(each, size=PATCH, mode="trilinear") for each in rough]


@pytest.fixture
def calibration(network, patches) -> Calibration:
    return calibrate(network, patches)


def compressed(network, spec, basis, evidence):
    smaller = copy.deepcopy(network)
    changes = plan(network, spec, PATCH, materials=[Material(evidence, lambda: basis)])
    apply(smaller, changes, basis)
    return smaller, changes


def logit_error(first: nn.Module, second: nn.Module, patches) -> float:
    """Mean squared difference of centered logits, relative to their energy."""
    difference = energy = 0.0
    for patch in patches:
        expected, found = first(patch), second(patch)
        expected, found = (each - each.mean(dim=1, keepdim=True) for each in (expected, found))
        difference += float((found - expected).square().sum())
        energy += float(expected.square().sum())
    return difference / energy


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv3d(3, 4, 3, padding=1),
        nn.Conv3d(3, 4, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
        nn.Conv3d(3, 4, 3, stride=2, dilation=2, padding=2),
        nn.Conv3d(3, 4, 3, padding="same", dilation=2),
    ],
    ids=str,
)
def test_a_convolution_is_its_weight_times_its_neighborhoods(conv):
    values = torch.randn(1, 3, 7, 8, 9)
    expected = conv(values)
    positions = sample_positions(conv, values, 50, torch.Generator().manual_seed(0))
    found = neighborhoods(conv, values, positions) @ conv.weight.flatten(1).T + conv.bias
    torch.testing.assert_close(found, expected.flatten(2)[0][:, positions].T)


def test_sampled_positions_are_all_where_there_are_few():
    conv, values = nn.Conv3d(1, 1, 3), torch.randn(1, 1, 5, 5, 5)
    assert sample_positions(conv, values, 100, torch.Generator()).tolist() == list(range(27))


def test_the_predicted_error_of_a_small_change_is_what_the_logits_show(network, patches, calibration):
    """First order: the Gauss-Newton norm against the change itself, for one layer at a time."""
    generator = torch.Generator().manual_seed(11)
    basis = CalibratedBasis.from_network(network, calibration)
    for path in ("1.0", "2.0", "3", "4.0"):
        changed = copy.deepcopy(network)
        weight = changed.get_submodule(path).weight
        weight = weight.transpose(0, 1) if path == "3" else weight
        ratios = []
        for _ in range(4):  # random changes: what they do varies, their mean is foretold
            original = basis.weights[path]
            moved = original + 1e-3 * original.std() * torch.randn(original.shape, generator=generator)
            weight.copy_(moved)
            foretold = basis.layer(path).error_of(moved) / calibration.logit_energy
            ratios.append(logit_error(network, changed, patches) / foretold)
        assert 0.3 < sum(ratios) / len(ratios) < 3, path


def test_the_logit_energy_is_that_of_the_logits(network, patches, calibration):
    energies = []
    for patch in patches:
        logits = network(patch)
        energies.append(float((logits - logits.mean(dim=1, keepdim=True)).square().sum()))
    assert calibration.logit_energy == pytest.approx(sum(energies) / len(energies), rel=1e-4)


def test_a_network_without_a_head_is_calibrated_on_its_outputs(patches):
    torch.manual_seed(1)
    network = nn.Sequential(Block(1, 8), Block(8, 8)).eval().requires_grad_(False)
    found = calibrate(network, patches)
    assert found.logit_energy > 0
    assert set(found.layers) == {"0.0", "1.0"}


def test_calibrating_leaves_the_network_as_it_is(network, patches):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    output = network(patches[0])
    calibrate(network, patches)
    assert torch.equal(network(patches[0]), output)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_the_same_patches_give_the_same_calibration_and_others_another(network, patches, calibration):
    assert calibrate(network, patches).sha256 == calibration.sha256
    assert calibrate(network, patches[:2]).sha256 != calibration.sha256
    assert calibrate(network, patches, seed=1).sha256 != calibration.sha256


def test_merged_calibrations_are_those_of_all_patches(network, patches):
    first, rest = calibrate(network, patches[:1]), calibrate(network, patches[1:])
    merged = first.merged(rest)
    assert merged.patches == 3
    for path, moments in merged.layers.items():
        expected = first.layers[path].inputs / 3 + rest.layers[path].inputs * 2 / 3
        torch.testing.assert_close(moments.inputs, expected)
    other = Calibration({"else": first.layers["1.0"]}, 1.0, 1)
    with pytest.raises(SpecError, match="different networks"):
        first.merged(other)


def test_a_calibration_survives_a_file(calibration):
    tensors = calibration.to_tensors()
    assert Calibration.from_tensors(tensors).sha256 == calibration.sha256
    del tensors["1.0/inputs"]
    with pytest.raises(ModelFileError, match="1.0/inputs"):
        Calibration.from_tensors(tensors)


def test_patches_that_tell_nothing_are_refused(network, patches):
    with pytest.raises(SpecError, match="at least one patch"):
        calibrate(network, [])
    network[-1].weight.zero_()
    network[-1].bias.zero_()
    with pytest.raises(SpecError, match="same output everywhere"):
        calibrate(network, patches)


def test_the_whitened_error_is_never_above_that_of_plain_truncation(network, calibration):
    """A theorem in the calibrated norm, at every rank pair, for layers with and without taps told apart."""
    plain, basis = decompose(network), CalibratedBasis.from_network(network, calibration)
    for path in ("1.0", "2.0", "3"):
        layer, (outputs, inputs) = basis.layer(path), basis.weights[path].shape[:2]
        for ranks in itertools.product(rank_steps(outputs, 5), rank_steps(inputs, 5)):
            core, output_factor, input_factor = plain.truncated(path, ranks)
            rebuilt = torch.einsum("or,rs...,is->oi...", output_factor, core, input_factor)
            assert layer.truncated(ranks).error <= layer.error_of(rebuilt) * (1 + 1e-6) + 1e-9, (path, ranks)


def test_whitening_pays_where_channels_differ(network, calibration):
    plain, basis = decompose(network), CalibratedBasis.from_network(network, calibration)
    core, output_factor, input_factor = plain.truncated("1.0", (8, 8))
    rebuilt = torch.einsum("or,rs...,is->oi...", output_factor, core, input_factor)
    layer = basis.layer("1.0")
    assert layer.truncated((8, 8)).error < 0.5 * layer.error_of(rebuilt)


def test_errors_of_all_ranks_are_what_truncation_without_sweeps_leaves(network, calibration):
    layer = CalibratedBasis.from_network(network, calibration).layer("1.0")
    table = layer.errors([8, 16])
    for s, row in table.items():
        assert float(row[0]) == pytest.approx(layer.energy, rel=1e-6)
        assert (row.diff() <= 1e-9 * layer.energy).all()
        for r in (4, 12, 24):
            assert layer.truncated((r, s), sweeps=0).error <= float(row[r]) * (1 + 1e-5) + 1e-8 * layer.energy
            assert layer.truncated((r, s)).error <= float(row[r]) * (1 + 1e-5) + 1e-8 * layer.energy
    assert float(table[16][24]) < 1e-6 * layer.energy


def test_full_ranks_give_the_weight_back(network, calibration):
    for path in ("1.0", "3"):
        layer = CalibratedBasis.from_network(network, calibration).layer(path)
        factors = layer.truncated((layer.outputs, layer.inputs))
        torch.testing.assert_close(factors.rebuilt(), layer.weight, rtol=1e-4, atol=1e-5)
        identity = torch.eye(layer.outputs, dtype=torch.float64)
        torch.testing.assert_close(factors.output_factor.T @ factors.output_factor, identity)
    with pytest.raises(SpecError, match="outside 1 to"):
        layer.truncated((0, 1))


def test_channels_that_are_never_seen_do_not_break_anything():
    moments = LayerMoments(torch.zeros(54, 54).double(), torch.zeros(4, 4).double(), torch.ones(4).double())
    layer = WhitenedLayer(torch.randn(4, 2, 3, 3, 3), moments)
    assert layer.truncated((2, 1)).rebuilt().isfinite().all()


def test_a_calibrated_network_is_nearer_to_the_original_than_a_plain_one(network, patches, calibration):
    plain, basis = decompose(network), CalibratedBasis.from_network(network, calibration)
    spec = Spec(0.5, rank_mode="auto", rank_multiple=4, minimum_rank=4)
    relative = Spec(0.5, rank_multiple=1, minimum_rank=4)
    spread = Spec(**{**vars(spec), "calibration": calibration.sha256})
    uniform, _ = compressed(network, relative, plain, None)
    calibrated, changes = compressed(network, spread, basis, basis.evidence(4))
    assert logit_error(network, calibrated, patches) < 0.5 * logit_error(network, uniform, patches)
    assert any(change.details["merged"] for change in changes)


def test_what_a_merged_layer_computes_is_its_factors_product(network, patches, calibration):
    basis = CalibratedBasis.from_network(network, calibration)
    spec = Spec(0.6, rank_mode="auto", rank_multiple=4, minimum_rank=4, calibration=calibration.sha256)
    smaller, changes = compressed(network, spec, basis, basis.evidence(4))
    lengths = set()
    for change in changes:
        ranks = TuckerDetails.from_change(change).ranks
        if ranks is None:
            continue
        layers, conv = smaller.get_submodule(change.path), network.get_submodule(change.path)
        core, output_factor, input_factor = basis.truncated(change.path, ranks)
        weight = torch.einsum("or,rs...,is->oi...", output_factor, core, input_factor)
        dense = copy.deepcopy(conv)
        dense.weight.copy_(weight.transpose(0, 1) if conv.transposed else weight)
        values = torch.randn(1, conv.in_channels, 8, 8, 8)
        torch.testing.assert_close(layers(values), dense(values), rtol=1e-3, atol=1e-4)
        lengths.add(len(layers))
        assert change.after.parameters == sum(parameter.numel() for parameter in layers.parameters())
    assert lengths & {1, 2}, "a factor at full rank is merged"


@pytest.mark.parametrize("budget", ["macs", "parameters"])
@pytest.mark.parametrize("rank_ratio", [0.3, 0.5, 0.7, 0.9])
def test_the_budget_holds_and_the_error_is_not_above_the_uniform_one(network, calibration, rank_ratio, budget):
    basis = CalibratedBasis.from_network(network, calibration)
    evidence = basis.evidence(4)
    spec = Spec(rank_ratio, rank_mode="auto", budget=budget, rank_multiple=4, minimum_rank=4)
    changes = plan(network, spec, PATCH, materials=[Material(evidence, lambda: basis)])
    paper = plan(network, Spec.paper(rank_ratio, 4), PATCH)
    allowed = sum(min(getattr(each.before, budget), getattr(each.after, budget)) for each in paper)
    assert sum(getattr(change.after, budget) for change in changes) <= allowed
    uniform = plan(network, Spec(rank_ratio, rank_multiple=4, minimum_rank=4), PATCH)
    if sum(getattr(change.after, budget) for change in uniform) <= allowed:
        assert summed(changes, evidence) <= summed(uniform, evidence) * (1 + 1e-9)


def summed(changes, evidence) -> float:
    ranks = {change.path: change.details["ranks"] for change in changes if change.skipped_because is None}
    return sum(float(evidence.errors[path][s][r]) for path, (r, s) in ranks.items())


def test_allocation_finds_the_best_of_all_combinations_or_nearly():
    generator = torch.Generator().manual_seed(2)
    for _ in range(20):
        choices = {}
        for layer in "abcd":
            costs = (torch.randperm(99, generator=generator)[:6] + 1).tolist()
            weight = float(torch.rand((), generator=generator))
            choices[layer] = [RankChoice((1, 1), cost, weight / cost) for cost in costs]
        possible = [dict(zip(choices, picked)) for picked in itertools.product(*choices.values())]
        for budget in (150, 250):
            best = min((total_error(p) for p in possible if total_cost(p) <= budget), default=None)
            found = allocate(choices, budget)
            if best is None:
                assert total_cost(found) == min(map(total_cost, possible))
            else:
                assert total_cost(found) <= budget
                assert best <= total_error(found) <= 1.5 * best


def test_what_is_left_of_a_budget_is_spent_beyond_the_hull():
    # The middle choice of "a" lies above the hull of its neighbors; the budget does not reach the last one.
    choices = {"a": [RankChoice((1, 1), 1, 1.0), RankChoice((2, 2), 5, 0.9), RankChoice(None, 9, 0.0)]}
    assert allocate(choices, 8)["a"].ranks == (2, 2)
    assert allocate(choices, 9)["a"].ranks is None
    assert allocate(choices, 0)["a"].ranks == (1, 1)


def test_ranks_by_weights_need_their_decomposition(network):
    for mode in ("auto", "energy", "evbmf"):
        with pytest.raises(SpecError, match="decomposition"):
            plan(network, Spec(0.5, rank_mode=mode), PATCH)
    assert all(change.skipped_because for change in plan(network, Spec(1.0, rank_mode="auto"), PATCH))


@pytest.mark.parametrize("wrong", [{"budget": "time"}, {"calibration": "ab"}, {"rank_mode": "best"}])
def test_settings_that_do_not_fit_together_are_refused(wrong):
    with pytest.raises(SpecError):
        Spec(0.5, **wrong)


def test_a_calibration_of_another_network_is_refused(calibration):
    torch.manual_seed(0)
    with pytest.raises(SpecError, match="another network"):
        CalibratedBasis.from_network(nn.Sequential(Block(1, 8), Block(8, 8)), calibration)


def test_given_ranks_have_the_factors_of_the_same_ranks_chosen_by_the_calibration(network, calibration):
    spec = Spec(0.5, rank_mode="auto", rank_multiple=4, calibration=calibration.sha256)
    basis = CalibratedBasis.from_network(network, calibration)
    chosen = plan(network, spec, PATCH, materials=[Material(basis.evidence(4), lambda: basis)])
    ranks = {each.path: TuckerDetails.from_change(each).ranks for each in chosen if each.skipped_because is None}
    given = replace(Spec.given(ranks), calibration=calibration.sha256)
    asked_for = []
    material = prepare(network, given, calibration, lambda facts, make, read: asked_for.append(facts))
    assert not asked_for  # the errors of all ranks are not computed for ranks that are known
    first, second = copy.deepcopy(network), copy.deepcopy(network)
    apply(first, chosen, Material(None, lambda: basis))
    apply(second, plan(network, given, PATCH), material)
    assert ranks
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
