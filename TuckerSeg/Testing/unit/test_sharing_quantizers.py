"""Quantizers of weight sharing, each against a case that is worked out by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from TuckerSegLib.compression.sharing.quantizers import QUANTIZERS, cws, ecsq, pws, uq
from TuckerSegLib.compression.sharing.quantizers.codebook import Settings
from TuckerSegLib.compression.sharing.rounding import round_with_feedback

VALUES = np.random.default_rng(0).standard_t(5, 3000).astype(np.float32)


def error(quantizer, values, importance, settings):
    codebook = quantizer.fit(values, importance, settings)
    found = codebook.centers[quantizer.assign(values, importance, codebook, settings)]
    return float(((values - found) ** 2 * (1 if importance is None else importance)).sum())


def test_k_means_finds_the_two_heaps():
    values = np.array([11, 0, 1, 10, 0, 1, 10, 11], np.float32)
    codebook = cws.fit(values, None, Settings(2))
    np.testing.assert_allclose(codebook.centers, [0.5, 10.5])
    np.testing.assert_array_equal(cws.assign(values, None, codebook, Settings(2)), [1, 0, 0, 1, 0, 0, 1, 1])


def test_what_counts_more_draws_the_center():
    values, importance = np.array([0.0, 1.0, 10.0]), np.array([3.0, 1.0, 1.0])
    np.testing.assert_allclose(cws.fit(values, importance, Settings(2)).centers, [0.25, 10])


def test_k_means_is_nearly_as_good_as_the_best_of_all_partitions():
    ratios = []
    for seed in range(8):
        values = np.sort(np.random.default_rng(seed).normal(size=14)).astype(np.float32)
        best = min(
            sum(part.var() * len(part) for part in np.split(values.astype(float), cuts))
            for cuts in itertools.combinations(range(1, 14), 3)
        )
        ratios.append(error(cws, values, None, Settings(4)) / best)
    assert min(ratios) > 0.999 and np.mean(ratios) < 1.1


def test_few_values_are_kept_as_they_are():
    values = np.array([2, -1, 2, 0.5], np.float32)
    np.testing.assert_allclose(cws.fit(values, None, Settings(8)).centers, [-1, 0.5, 2])


def test_stochastic_rounding_has_the_weight_as_its_mean():
    ends = np.array([0.0, 1.0, 4.0])
    codebook = pws.fit(np.array([0, 1, 4], np.float32), None, Settings(3))
    np.testing.assert_allclose(codebook.centers, ends)
    values = np.repeat(np.array([0.25, 1.75, 3.4, 4.0], np.float32), 20000)
    rounded = ends[pws.assign(values, None, codebook, Settings(3, seed=1))].reshape(4, -1)
    np.testing.assert_allclose(rounded.mean(axis=1), [0.25, 1.75, 3.4, 4.0], atol=0.03)
    assert set(rounded[0]) == {0, 1} and set(rounded[1]) == {1, 4} and set(rounded[3]) == {4}


def test_uniform_values_are_multiples_of_the_smallest_step_that_leaves_few_enough():
    codebook = uq.fit(VALUES, None, Settings(16))
    steps = np.diff(codebook.centers)
    step = steps.min()
    assert len(codebook.centers) <= 16
    np.testing.assert_allclose(codebook.centers / step, np.rint(codebook.centers / step), atol=1e-9)
    assert len(np.unique(np.rint(VALUES / (0.97 * step)))) > 16
    np.testing.assert_allclose(uq.fit(np.array([0, 1, 2, 3.0]), None, Settings(4)).centers, [0, 1, 2, 3], atol=1e-3)


def test_entropy_makes_a_center_that_few_use_dear():
    values = np.array([0.0] * 6 + [1.0] * 2)
    # nats: -ln(6/8) and -ln(2/8): at a price of 1 the border moves from 0.5 by (1.386 - 0.288) / 2.
    winners, cuts = ecsq.cheapest(np.array([0.0, 1.0]), -np.log([6 / 8, 2 / 8]), 1.0)
    np.testing.assert_array_equal(winners, [0, 1])
    np.testing.assert_allclose(cuts, [0.5 + np.log(3) / 2])
    assert len(ecsq.fit(values, None, Settings(2, nat_price=0.01)).centers) == 2
    codebook = ecsq.fit(values, None, Settings(2, nat_price=100.0))
    np.testing.assert_allclose(codebook.centers, [0.25])


def test_a_dominated_center_is_never_cheapest():
    winners, cuts = ecsq.cheapest(np.array([0.0, 1.0, 2.0]), np.array([0.0, 50.0, 0.0]), 1.0)
    np.testing.assert_array_equal(winners, [0, 2])
    np.testing.assert_allclose(cuts, [1.0])


@pytest.mark.parametrize("alike", [True, False])
def test_a_higher_price_takes_fewer_bits_and_more_error(alike):
    importance = None if alike else np.random.default_rng(2).lognormal(size=len(VALUES))
    bits, errors = [], []
    for price in (0.0, 0.01, 0.1, 1.0):
        settings = Settings(64, nat_price=price)
        codebook = ecsq.fit(VALUES, importance, settings)
        indices = ecsq.assign(VALUES, importance, codebook, settings)
        shares = np.bincount(indices)[np.unique(indices)] / len(VALUES)
        bits.append(-(shares * np.log2(shares)).sum())
        errors.append(error(ecsq, VALUES, importance, settings))
    assert bits == sorted(bits, reverse=True) and errors == sorted(errors)


@pytest.mark.parametrize("name", QUANTIZERS)
def test_no_more_centers_than_asked_and_the_same_each_time(name):
    quantizer, settings = QUANTIZERS[name], Settings(16, seed=3, nat_price=1e-3)
    first, second = (quantizer.fit(VALUES, None, settings) for _ in range(2))
    assert len(first.centers) <= 16 and (np.diff(first.centers) > 0).all()
    np.testing.assert_array_equal(first.centers, second.centers)
    indices = quantizer.assign(VALUES, None, first, settings)
    np.testing.assert_array_equal(indices, quantizer.assign(VALUES, None, second, settings))
    assert indices.min() >= 0 and indices.max() < len(first.centers)


def test_k_means_errs_least_of_all():
    errors = {name: error(quantizer, VALUES, None, Settings(16)) for name, quantizer in QUANTIZERS.items()}
    assert min(errors, key=errors.get) in ("cws", "ecsq")
    assert errors["cws"] < errors["uq"] < errors["pws"]


def test_rounding_with_feedback_errs_less_in_the_output():
    random = np.random.default_rng(4)
    inputs = random.normal(size=(500, 12)) @ random.normal(size=(12, 12))  # correlated
    weight, moment = random.normal(size=(8, 12)), torch.from_numpy(inputs.T @ inputs)

    def whole(values, column):
        return np.rint(values).astype(int) + 10, np.rint(values)

    indices = round_with_feedback(weight, moment, whole)
    with_feedback = np.square(inputs @ (indices - 10 - weight).T).sum()
    assert with_feedback < 0.5 * np.square(inputs @ (np.rint(weight) - weight).T).sum()
    independent = round_with_feedback(weight, torch.eye(12, dtype=torch.float64), whole)
    np.testing.assert_array_equal(independent - 10, np.rint(weight))
