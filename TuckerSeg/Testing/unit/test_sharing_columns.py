"""Huffman-coded columns come back as they were, and multiply as the dense matrix does."""

from __future__ import annotations

import numpy as np
import pytest

from TuckerSegLib.compression.sharing.columns import DenseColumns, SparseColumns
from TuckerSegLib.errors import ModelFileError

RANDOM = np.random.default_rng(0)
CENTERS = np.array([0.0, -1.5, -0.5, 0.5, 1.0, 2.5])


def matrix(zeros, shape=(40, 30)):
    indices = RANDOM.integers(1, len(CENTERS), shape)
    return np.where(RANDOM.random(shape) < zeros, 0, indices)


@pytest.mark.parametrize("form", [DenseColumns, SparseColumns])
@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("shape", [(40, 30), (1, 9), (9, 1)])
def test_columns_come_back_and_multiply_as_the_dense_matrix_does(form, zeros, shape):
    indices = matrix(zeros, shape)
    indices.flat[0] = 1  # at least one value
    coded, vector = form.of(indices, CENTERS), RANDOM.normal(size=shape[0])
    np.testing.assert_array_equal(coded.decoded(), CENTERS[indices])
    np.testing.assert_allclose(coded.product(vector), vector @ CENTERS[indices], atol=1e-12)


def test_an_empty_column_is_one_of_zeros():
    indices = np.array([[0, 3], [0, 0]])
    np.testing.assert_array_equal(SparseColumns.of(indices, CENTERS).product(np.array([2.0, 1.0])), [0.0, 1.0])


def test_bits_are_those_of_a_hand_and_sparse_pays_where_zeros_are_many():
    """Two columns of two indices, one bit each: a byte, two ends, two centers, two lengths."""
    assert DenseColumns.of(np.array([[0, 1], [1, 0]]), CENTERS[:2]).bits == 8 + 2 * 32 + 2 * 32 + 2 * 8
    sparse, full = matrix(0.98, (400, 300)), matrix(0.0, (400, 300))
    assert SparseColumns.of(sparse, CENTERS).bits < DenseColumns.of(sparse, CENTERS).bits
    assert SparseColumns.of(full, CENTERS).bits > DenseColumns.of(full, CENTERS).bits


def test_a_column_that_ends_early_is_refused():
    coded = DenseColumns.of(matrix(0.5), CENTERS)
    coded.ends[3] -= 1
    with pytest.raises(ModelFileError, match="early or late|no word"):
        coded.decoded()
