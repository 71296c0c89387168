"""Calibrated compression: the factors that minimize the norm of the moments, and ranks spread by it."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn

from Testing.unit.calibrated_blocks import PATCH, Block, logit_error, made, patches_of
from TuckerSegLib.compression.calibration import Calibration, LayerMoments, calibrate
from TuckerSegLib.compression.tucker.basis import decompose
from TuckerSegLib.compression.tucker.calibrated_basis import CalibratedBasis
from TuckerSegLib.compression.tucker.details import TuckerDetails
from TuckerSegLib.compression.tucker.material import Material, prepare
from TuckerSegLib.compression.tucker.method import Spec, apply, plan
from TuckerSegLib.compression.tucker.rank_allocation import RankChoice, allocate, rank_steps, total_cost, total_error
from TuckerSegLib.compression.tucker.whitening import WhitenedLayer, _solved
from TuckerSegLib.errors import SpecError

pytestmark = pytest.mark.slow


@pytest.fixture
def network() -> nn.Module:
    return made()


@pytest.fixture
def patches() -> list[torch.Tensor]:
    return patches_of(3)


@pytest.fixture
def calibration(network, patches) -> Calibration:
    return calibrate(network, patches)


def compressed(network, spec, basis, evidence):
    smaller = copy.deepcopy(network)
    changes = plan(network, spec, PATCH, materials=[Material(evidence, lambda: basis)])
    apply(smaller, changes, basis)
    return smaller, changes


def test_the_whitened_error_is_never_above_that_of_plain_truncation(network, calibration):
    """A theorem in the calibrated norm, at every rank pair, for layers with and without taps told apart."""
    plain, basis = decompose(network), CalibratedBasis.from_network(network, calibration)
    for path in ("1.0", "2.0", "3"):
        layer, (outputs, inputs) = basis.layer(path), basis.weights[path].shape[:2]
        for ranks in itertools.product(rank_steps(outputs, 5), rank_steps(inputs, 5)):
            core, output_factor, input_factor = plain.truncated(path, ranks)
            rebuilt = torch.einsum("or,rs...,is->oi...", output_factor, core, input_factor)
            assert layer.truncated(ranks).error <= layer.error_of(rebuilt) + 1e-8 * layer.energy, (path, ranks)


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


def layer_of(channels: tuple[int, int], tells_taps: bool) -> WhitenedLayer:
    torch.manual_seed(1)
    outputs, inputs = channels
    seen, pulls = torch.randn(inputs * (27 if tells_taps else 1), 900).double(), torch.randn(outputs, 50).double()
    moments = LayerMoments(seen @ seen.T, pulls @ pulls.T, torch.ones(outputs).double())
    return WhitenedLayer(torch.randn(outputs, inputs, 3, 3, 3), moments)


@pytest.mark.parametrize("tells_taps", [True, False])
def test_errors_of_one_rank_are_the_same_alone_and_among_others(tells_taps):
    layer = layer_of((12, 16), tells_taps)
    together = layer.errors([4, 8, 12, 16])
    assert list(together) == [4, 8, 12, 16]
    for rank, errors in together.items():
        torch.testing.assert_close(errors, layer.errors([rank])[rank], rtol=1e-9, atol=1e-12 * layer.energy)
        _, whitened = layer._regression(layer._leading_factor[:, :rank])
        kept = torch.linalg.eigvalsh(whitened @ whitened.T).flip(0).cumsum(0)
        torch.testing.assert_close(errors[1:], layer.energy - kept, rtol=1e-8, atol=1e-8 * layer.energy)


@pytest.mark.parametrize("tells_taps", [True, False])
def test_the_error_of_factors_is_that_of_the_weight_that_they_make(tells_taps):
    layer = layer_of((12, 16), tells_taps)
    for ranks in ((4, 8), (9, 16), (12, 4), (12, 16)):
        factors = layer.truncated(ranks)
        expected = layer.error_of(factors.rebuilt())
        assert factors.error == pytest.approx(expected, rel=1e-6, abs=1e-8 * layer.energy)


def test_no_other_input_factor_does_better_beside_the_same_other_factors():
    layer = layer_of((6, 8), tells_taps=True)
    solution, whitened = layer._regression(layer._leading_factor[:, :3])
    output_factor = torch.linalg.eigh(whitened @ whitened.T)[1].flip(1)[:, :4]
    core = torch.einsum("or,osk->rsk", output_factor, solution)
    best = layer._best_inputs(output_factor, core).requires_grad_()
    wrong = (layer._scaled - torch.einsum("or,rsk,is->oik", output_factor, core, best)).flatten(1)
    error = ((wrong @ layer._moment) * wrong).sum()
    (slope,) = torch.autograd.grad(error, best)
    assert float(slope.abs().max()) < 1e-6 * float(error.detach())


def test_a_system_that_is_not_quite_positive_is_solved_too():
    system = torch.diag(torch.tensor([2.0, -1e-12, 1.0])).double()
    torch.testing.assert_close(_solved(system, torch.ones(3).double()), torch.tensor([0.5, -1e12, 1.0]).double())


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
