"""Labels of several networks in one label map."""

from __future__ import annotations

import numpy as np
import pytest

from TuckerSegLib.postprocessing.merge import MergedLabels


def grid(*values: int, dtype=np.uint8) -> np.ndarray:
    return np.array(values, dtype).reshape(len(values), 1, 1)


def test_later_networks_overwrite_where_they_find_something():
    merged = MergedLabels(117)
    assert merged.add(grid(0, 1, 2, 2), {1: 10, 2: 20}) == 2
    assert merged.add(grid(1, 0, 1, 0), {1: 90}) == 1
    assert merged.labels.ravel().tolist() == [90, 10, 90, 20]
    assert merged.labels.dtype == np.uint8


def test_values_that_the_task_does_not_name_are_background():
    merged = MergedLabels(117)
    assert merged.add(grid(1, 3), {1: 5}) == 1
    assert merged.labels.ravel().tolist() == [5, 0]


def test_a_single_network_s_labels_are_not_copied():
    merged, labels = MergedLabels(2), grid(0, 1, 2)
    assert merged.add(labels, None) == 2
    assert merged.labels is labels


def test_more_than_255_structures_take_16_bits():
    merged = MergedLabels(300)
    merged.add(grid(1, 2), {1: 300, 2: 4})
    merged.add(grid(1, 0, dtype=np.uint16), {1: 299})
    assert merged.labels.ravel().tolist() == [299, 4]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_is_not_wanted_becomes_background(dtype):
    merged = MergedLabels(3 if dtype == np.uint8 else 300)
    merged.add(grid(0, 1, 2, 3, dtype=dtype), None)
    merged.keep([1, 3])
    assert merged.labels.ravel().tolist() == [0, 1, 0, 3]
