"""The allocator: prices, forms of layers, and the choice among all of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from TuckerSegLib.compression.allocation.pricing import pricing_of
from TuckerSegLib.compression.allocation.problem import Form, Group, Layer, Problem
from TuckerSegLib.compression.allocation.solve import MEANS, Solution, solve
from TuckerSegLib.compression.allocation.spec import Spec
from TuckerSegLib.compression.allocation.steps import available_means, steps_of
from TuckerSegLib.errors import SpecError
from TuckerSegLib.records.layer_times import LayerTimes

VOXELS = (1000, 1000)


def rank_errors(inputs: int, outputs: int, scale: float) -> np.ndarray:
    """Errors that fall with both ranks, 0 at full rank."""
    missing = [np.linspace(1, 0, channels + 1) ** 2 for channels in (inputs, outputs)]
    return scale * (missing[0][:, None] + missing[1][None, :])


def layer(inputs=16, outputs=16, scale=1.0, eight_bits=None, **fields) -> Layer:
    errors = rank_errors(inputs, outputs, scale)
    fields = {"kind": "kernel", "taps": 27, "voxels": VOXELS, "rank_multiple": 4, **fields}
    return Layer(inputs=inputs, outputs=outputs, rank_errors=errors, eight_bits_error=eight_bits, **fields)


def chain(scales=(1.0, 0.2, 0.05), eight_bits=(0.3, 0.1, 0.2), budget="macs", times=None) -> Problem:
    """Three layers in a row: what the first and second make is read by the one behind."""
    layers = {
        "a": layer(4, 16, scales[0], eight_bits[0], target="a", has_bias=True),
        "b": layer(16, 16, scales[1], eight_bits[1], target="b", sources=("a",)),
        "c": layer(16, 8, scales[2], eight_bits[2], sources=("b",)),
    }
    groups = {
        "a": Group((8, 16), (0.25, 0.0), ((1000, True),)),
        "b": Group((8, 12, 16), (0.1, 0.01, 0.0), ((1000, True),)),
    }
    return Problem(layers, groups, pricing_of(budget, times), fixed_cost=5.0)


def all_solutions(problem: Problem):
    """Cost and error of every combination."""
    for sizes in itertools.product(*(group.sizes for group in problem.groups.values())):
        kept = dict(zip(problem.groups, sizes))
        for forms in itertools.product(*(problem.forms(path, kept) for path in problem.layers)):
            cost = problem.cost_of_groups(kept) + sum(form.cost for form in forms)
            yield cost, problem.error_of_groups(kept) + sum(form.error for form in forms)


def test_counts_are_those_of_the_network_and_whole_numbers_take_a_quarter_of_the_bytes():
    macs, parameters, bytes_ = (pricing_of(budget) for budget in ("macs", "parameters", "bytes"))
    assert macs.convolution("kernel", 4, 8, 27, (100, 50)) == 4 * 8 * 27 * 50
    assert macs.convolution("transposed", 4, 8, 8, (100, 800)) == 4 * 8 * 8 * 100
    assert parameters.convolution("kernel", 4, 8, 27, (100, 50)) + parameters.bias(8) == 4 * 8 * 27 + 8
    assert bytes_.convolution("kernel", 4, 8, 27, (1, 1)) == 4 * bytes_.convolution("kernel", 4, 8, 27, (1, 1), True)
    assert (macs.norm(8, 100, True), parameters.norm(8, 100, True), parameters.norm(8, 100, False)) == (0, 16, 0)


def test_time_is_priced_by_the_work_and_a_budget_of_time_needs_it():
    times = LayerTimes("bf16", {"kernel.gmacs": 2.0, "norm.values": 0.5, "int8.kernel.gmacs": 1.0})
    priced = pricing_of("time", times)
    gmacs = 16 * 16 * 27 * 1000 / 1e9
    assert priced.convolution("kernel", 16, 10, 27, VOXELS) == pytest.approx(2.0 * gmacs)
    assert priced.convolution("kernel", 16, 10, 27, VOXELS, eight_bits=True) == pytest.approx(1.0 * gmacs)
    assert priced.norm(10, 1000, True) == pytest.approx(0.5 * 16 * 1000 / 1e6)
    with pytest.raises(SpecError, match="times of layers"):
        pricing_of("time")


def test_a_layer_between_pruned_channels_has_the_ranks_that_they_leave():
    problem = chain()
    kept = {"a": 8, "b": 12}
    dense, *others = problem.forms("b", kept)
    assert dense.cost == 8 * 12 * 27 * 1000
    assert dense.error == 0
    assert all(form.ranks[0] <= 12 and form.ranks[1] <= 8 for form in others if form.ranks)
    errors, ranked = problem.layers["b"].rank_errors, [form for form in others if form.ranks]
    form = ranked[0]
    r, s = form.ranks
    assert form.error == pytest.approx(errors[s, r] - errors[8, 12])
    squeeze, expand = (8 * s if s < 8 else 0), (r * 12 if r < 12 else 0)
    assert form.cost == 1000 * (squeeze + s * r * 27 + expand)


def test_only_forms_that_save_something_are_offered_and_none_that_another_beats():
    problem = chain()
    for path in problem.layers:
        dense, *others = problem.forms(path, problem.everything())
        assert all(form.cost < dense.cost for form in others)
        costs, errors = [form.cost for form in others], [form.error for form in others]
        assert costs == sorted(costs)
        assert errors == sorted(errors, reverse=True)


def test_the_original_costs_what_its_layers_do():
    macs = 1000 * 27 * (4 * 16 + 16 * 16 + 16 * 8)
    assert chain().original_cost() == macs + 5
    parameters = 27 * (4 * 16 + 16 * 16 + 16 * 8) + 16 + 2 * (16 + 16)
    assert chain(budget="parameters").original_cost() == parameters + 5


@pytest.mark.parametrize("budget", ["macs", "parameters", "bytes"])
@pytest.mark.parametrize("share", [0.9, 0.6, 0.4, 0.25, 0.15])
def test_a_small_problem_is_solved_about_as_well_as_by_trying_everything(budget, share):
    problem = chain(budget=budget)
    most = share * problem.original_cost()
    solution = solve(problem, most)
    within = [error for cost, error in all_solutions(problem) if cost <= most]
    assert solution.cost <= most
    assert solution.error <= 1.15 * min(within) + 1e-3
    assert solution.error >= min(within) - 1e-12


@pytest.mark.parametrize("share", [0.8, 0.5, 0.3, 0.2])
def test_all_means_together_are_never_worse_than_one_alone(share):
    problem = chain()
    most = share * problem.original_cost()
    together = solve(problem, most)
    for means in MEANS:
        alone = solve(problem.by_one_means(means), most)
        if alone.cost <= most:
            assert together.error <= alone.error


def test_one_means_alone_uses_no_other():
    problem = chain(budget="bytes")
    most = 0.5 * problem.original_cost()
    tucker, prune, int8 = (solve(problem.by_one_means(means), most) for means in MEANS)
    assert any(form.ranks for form in tucker.forms.values())
    assert tucker.kept == problem.everything()
    assert not any(form.eight_bits for form in tucker.forms.values())
    assert prune.kept != problem.everything()
    assert not any(form.ranks or form.eight_bits for form in prune.forms.values())
    assert any(form.eight_bits for form in int8.forms.values())
    assert int8.kept == problem.everything()


def test_where_nothing_saves_time_the_network_stays_as_it_is():
    moved_alone = LayerTimes("bf16", {"layers": 1.0})  # every layer takes its second, whatever it computes
    problem = chain(budget="time", times=moved_alone, eight_bits=(None,) * 3)
    solution = solve(problem, 0.5 * problem.original_cost())
    assert not any(form.ranks or form.eight_bits for form in solution.forms.values())
    assert solution.cost == problem.original_cost()


def test_a_budget_that_the_original_keeps_changes_nothing():
    problem = chain()
    solution = solve(problem, problem.original_cost())
    assert solution.error == 0
    assert solution.kept == problem.everything()


@pytest.mark.parametrize(
    "setting",
    [
        {"share": 0},
        {"share": 1.2},
        {"share": True},
        {"budget": "flops"},
        {"means": ["tuker"]},
        {"means": []},
        {"agreement": 1.01},
        {"agreement": 0.2},
        {"calibration": 5},
    ],
)
def test_a_setting_out_of_range_is_an_error_that_names_it(setting):
    ((name, _),) = setting.items()
    with pytest.raises(SpecError, match=name):
        Spec(**setting)


def test_whole_numbers_are_offered_for_a_budget_of_time_only_where_they_were_measured():
    measured, unmeasured = ({"kernel.gmacs": 2.0, "int8.kernel.gmacs": 1.0}, {"kernel.gmacs": 2.0})
    assert "int8" in available_means(Spec(), LayerTimes("bf16", measured))
    assert "int8" not in available_means(Spec(), LayerTimes("bf16", unmeasured))
    assert "int8" in available_means(Spec(budget="bytes"), None)
    assert available_means(Spec(means=["tucker"]), LayerTimes("bf16", measured)) == ("tucker",)
    priced = pricing_of("time", LayerTimes("bf16", measured))
    assert priced.has_eight_bits("kernel")
    assert not priced.has_eight_bits("strided")


def test_the_core_of_a_decomposed_layer_may_compute_with_whole_numbers():
    problem = chain(budget="bytes")
    kept = problem.everything()
    both = [form for form in problem.forms("b", kept) if form.ranks and form.eight_bits]
    assert both
    for form in both:
        r, s = form.ranks
        squeeze, core, expand = (16 * s if s < 16 else 0), s * r * 27, (r * 16 if r < 16 else 0)
        assert form.cost == 4 * squeeze + core + 4 * expand
        assert form.error == pytest.approx(problem.layers["b"].rank_errors[s, r] + 0.1)
        assert form.squeezed == (s < 16)
    assert not any(form.ranks == (16, 16) for form in problem.forms("b", kept))


def test_the_steps_name_the_layers_that_the_steps_before_leave():
    kept = {"a": 16, "b": 12}
    forms = {
        "a": Form(None, True, 1.0, 0.0),
        "b": Form((8, 16), True, 1.0, 0.0, squeezed=False),
        "c": Form((8, 4), True, 1.0, 0.0, squeezed=True),
    }
    (prune, pruning), (tucker, ranks), (int8, types) = steps_of(chain(), Solution(kept, forms, 3.0, 0.1))
    assert (prune, tucker, int8) == ("prune", "tucker", "int8")
    assert pruning.channels == {"b": 12}
    assert ranks.ranks == {"b": [8, 16], "c": [8, 4]}
    assert tuple(types.layers) == ("a", "b.0", "c.1")


def test_groups_that_share_a_block_of_channels_are_pruned_together():
    times = LayerTimes("bf16", {"kernel.gmacs": 1.0})  # channels count in blocks of 16: half of one saves nothing
    layers = {
        "a": Layer("kernel", 27, VOXELS, 16, 16, target="a"),
        "b": Layer("kernel", 27, VOXELS, 16, 16, target="b"),
        "both": Layer("kernel", 27, VOXELS, 32, 16, sources=("a", "b"), parts=2),
    }
    groups = {name: Group((8, 16), (0.1, 0.0)) for name in ("a", "b")}
    problem = Problem(layers, groups, pricing_of("time", times))
    solution = solve(problem, 0.8 * problem.original_cost())
    assert solution.kept == {"a": 8, "b": 8}
    assert solution.cost == pytest.approx(0.75 * problem.original_cost())
