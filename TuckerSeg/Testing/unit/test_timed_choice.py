"""A choice that is timed: measurements correct the prices, and the choice with them. Nothing here is really timed."""

from __future__ import annotations

import numpy as np
import pytest

from TuckerSegLib.compression.allocation.pricing import pricing_of
from TuckerSegLib.compression.allocation.problem import Layer, Problem
from TuckerSegLib.compression.allocation.steps import allocate_within
from TuckerSegLib.layer_times.stopwatch import alternated_seconds, undisturbed_seconds
from TuckerSegLib.models.timed_choice import MOST_FACTOR, timed_choice
from TuckerSegLib.records.layer_times import LayerTimes

TIMES = LayerTimes("bf16", {"kernel.gmacs": 1.0, "pointwise.gmacs": 1.0, "int8.kernel.gmacs": 0.5})
VOXELS = (10**6, 10**6)


def one_layer(corrections, fixed_cost=0.0):
    """A layer that whole numbers make half as dear at an error of 0.1, and ranks of 32 four times cheaper at 0.3."""
    errors = np.full((65, 65), 9.0)
    errors[32, 32], errors[64, 64] = 0.3, 0.0
    layer = Layer("kernel", 27, VOXELS, 64, 64, rank_errors=errors, rank_multiple=32, eight_bits_error=0.1)
    return Problem({"conv": layer}, {}, pricing_of("time", TIMES), fixed_cost, corrections)


def choice_at(share, true_share, fixed_cost=0.0):
    """The choice for one layer, whose steps take ``true_share(predicted, methods)`` when they are measured."""
    original = one_layer({}).original_cost() + fixed_cost
    timed = []

    def methods(steps):
        return tuple(name for name, _ in steps)

    def predicted(steps):
        gmacs = {(): 110.592, ("int8",): 55.296, ("tucker",): 31.744, ("tucker", "int8"): 17.92}
        return (gmacs[methods(steps)] + fixed_cost) / original

    def measured(steps):
        timed.append(methods(steps))
        return true_share(predicted(steps), methods(steps))

    return timed_choice(
        share, lambda known: allocate_within(one_layer(known, fixed_cost), share), predicted, measured
    ), timed


def names(choice):
    return [name for name, _ in choice.steps]


def test_prices_are_those_of_the_table():
    problem = one_layer({})
    assert problem.original_cost() == pytest.approx(64 * 64 * 27 / 1e3)
    allocation = allocate_within(problem, 0.6)
    assert allocation.cost == pytest.approx(55.296)
    assert allocation.parts == pytest.approx({"int8": 55.296})
    assert allocate_within(problem, 0.3).cost == pytest.approx(31.744)


def test_a_prediction_that_is_right_is_taken_after_one_measurement():
    choice, timed = choice_at(0.6, lambda predicted, _: 1.04 * predicted)
    assert names(choice) == ["int8"]
    assert timed == [("int8",)]
    assert choice.shares == pytest.approx((0.5, 0.52))
    assert choice.corrections == {}


def test_means_that_are_slower_than_predicted_lose_to_others():
    choice, timed = choice_at(0.6, lambda predicted, methods: 1.5 * predicted if "int8" in methods else predicted)
    assert timed == [("int8",), ("tucker",)]
    assert names(choice) == ["tucker"]
    assert choice.corrections == pytest.approx({"int8": 1.5})
    assert choice.measured == pytest.approx(choice.predicted)


def test_what_is_off_is_put_down_to_the_step_that_it_came_with():
    def slow(predicted, methods):
        return predicted + (0.1 if "int8" in methods else 0.0)

    choice, timed = choice_at(0.2, slow)
    assert timed[:2] == [("tucker", "int8"), ("tucker",)]
    assert choice.corrections["tucker"] == pytest.approx(1)
    assert choice.corrections["int8"] == pytest.approx(1 + 0.1 * 110.592 / 17.92)


def test_a_measurement_that_went_wrong_corrects_within_bounds():
    choice, _ = choice_at(0.6, lambda predicted, _: 50 * predicted)
    assert choice.steps == ()
    assert choice.corrections["int8"] == MOST_FACTOR


def test_what_stays_is_no_fault_of_the_means_that_changed_the_rest():
    choice, _ = choice_at(0.8, lambda predicted, _: predicted + 0.1, fixed_cost=110.592)
    assert choice.corrections["int8"] == pytest.approx(1 + 0.1 * 2 * 110.592 / 55.296)


def test_nothing_is_chosen_where_nothing_is_faster():
    choice, _ = choice_at(0.6, lambda *_: 0.99)
    assert choice.steps == ()


def test_where_the_share_cannot_be_had_the_fastest_is_taken():
    choice, timed = choice_at(0.3, lambda *_: 0.5)
    assert len(timed) > 1
    assert choice.steps
    assert choice.measured == 0.5


@pytest.mark.parametrize(
    ("wall_s", "given_s", "threads", "expected"),
    [
        (1.0, 1.9, 2, 1.0),  # alone
        (4.0, 2.0, 2, 1.0),  # others had three quarters of the processor
        (4.0, 0.1, 0, 4.0),  # on another chip the processor's time says nothing
        (0.01, 0.001, 2, 0.01),  # short enough to have run undisturbed in one of several runs
    ],
)
def test_on_a_busy_computer_the_time_that_the_processor_gave_counts(wall_s, given_s, threads, expected):
    assert undisturbed_seconds(wall_s, given_s, threads) == expected


def test_works_that_are_compared_run_in_turns():
    turns = []
    seconds = alternated_seconds((lambda: turns.append("a"), lambda: turns.append("b")), 2)
    assert "".join(turns) == "ababab"
    assert len(seconds) == 2
