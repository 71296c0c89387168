"""Agreement of label maps in numbers: Dice, and means over cases."""

from __future__ import annotations

import numpy as np
import pytest

from TuckerSegLib.evaluation.dice import (
    StructureScore,
    dice_per_label,
    mean_dice,
    mean_of,
    means_over_cases,
    overlap,
)


@pytest.fixture
def maps() -> tuple[np.ndarray, np.ndarray]:
    """Labels and their reference, (2, 3, 4): of 1 half agrees, 2 is missed, 7 is found where there is nothing."""
    labels, reference = (np.zeros((2, 3, 4), np.uint8) for _ in range(2))
    reference[0, 0] = 1
    labels[0, 0, :2] = 1
    labels[0, 1, :2] = 1
    reference[1, 2, :3] = 2
    labels[1, 0, 0] = 7
    return labels, reference


def score(case: str, name: str, dice: float, reference_voxels: int = 100, value: int = 1) -> StructureScore:
    return StructureScore(case, value, name, reference_voxels, 100, dice, dice / 2)


def test_overlap_counts_the_voxels_of_every_value_in_either_map_and_in_both(maps):
    counts = overlap(*maps)
    assert counts.predicted.tolist() == [24 - 5, 4, 0, 0, 0, 0, 0, 1]
    assert counts.reference.tolist() == [24 - 7, 4, 3, 0, 0, 0, 0, 0]
    assert counts.common.tolist() == [24 - 10, 2, 0, 0, 0, 0, 0, 0]


def test_dice_is_twice_the_common_voxels_over_those_of_both(maps):
    assert dice_per_label(*maps) == {1: 2 * 2 / (4 + 4), 2: 0, 7: 0}


def test_dice_of_maps_in_different_types_and_memory_orders_is_the_same():
    random = np.random.default_rng(0)
    labels, reference = (random.integers(0, 4, (5, 6, 7)).astype(np.uint8) for _ in range(2))
    expected = {}
    for value in (1, 2, 3):
        first, second = labels == value, reference == value
        expected[value] = 2 * (first & second).sum() / (first.sum() + second.sum())
    assert dice_per_label(labels, reference) == pytest.approx(expected)
    assert dice_per_label(np.asfortranarray(labels).astype(np.int32), reference) == pytest.approx(expected)


def test_mean_dice_leaves_out_structures_whose_reference_is_too_small(maps):
    assert mean_dice(*maps, minimum_voxels=1) == (0.5 + 0) / 2
    assert mean_dice(*maps, minimum_voxels=4) == 0.5
    assert np.isnan(mean_dice(*maps, minimum_voxels=5))


def test_a_structures_mean_is_over_the_cases_whose_reference_has_it():
    scores = [score("a", "liver", 0.8), score("b", "liver", 0.4), score("c", "liver", 0, reference_voxels=0)]
    (liver,) = means_over_cases(scores, minimum_voxels=0)
    assert (liver.cases, liver.cases_without) == (2, 1)
    assert (liver.dice, liver.nsd) == pytest.approx((0.6, 0.3))


def test_cases_whose_reference_is_too_small_do_not_count_but_are_not_without_the_structure():
    scores = [score("a", "liver", 0.8, reference_voxels=20), score("b", "liver", 0.4, reference_voxels=19)]
    (liver,) = means_over_cases(scores, minimum_voxels=20)
    assert (liver.cases, liver.cases_without, liver.dice) == (1, 0, 0.8)


def test_the_structure_that_agrees_worst_comes_first_and_those_that_nothing_counts_for_last():
    scores = [
        score("a", "liver", 0.9, value=5),
        score("a", "spleen", 0.2, value=9),
        score("a", "colon", 0, reference_voxels=0, value=3),
        score("a", "brain", 0, reference_voxels=0, value=2),
        score("a", "aorta", 0.2, value=7),
    ]
    means = means_over_cases(scores, minimum_voxels=0)
    assert [mean.name for mean in means] == ["aorta", "spleen", "liver", "brain", "colon"]
    assert [mean.dice for mean in means] == [0.2, 0.2, 0.9, None, None]


def test_a_structure_is_one_whatever_its_value_in_each_case():
    (liver,) = means_over_cases([score("a", "liver", 0.8, value=1), score("b", "liver", 0.4, value=2)], 0)
    assert (liver.cases, liver.value) == (2, 1)


def test_there_is_no_mean_of_nothing():
    assert mean_of([]) is None
    assert mean_of(iter([1, 2])) == 1.5
