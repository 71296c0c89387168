"""Boxes of an image lie where they are said to lie."""

from __future__ import annotations

import numpy as np
import pytest

from TuckerSegLib.image import Geometry, box_around, cropped, filled_box, image_from_array

SHAPE = (12, 14, 16)
AFFINES = {
    "straight": [[2.0, 0, 0, -8], [0, 2.5, 0, 4], [0, 0, 4.0, 5], [0, 0, 0, 1]],
    "flipped": [[-1.5, 0, 0, 30], [0, -2.0, 0, -40], [0, 0, -3.5, 5], [0, 0, 0, 1]],
    "sagittal": [[0, 0, 3.0, -20], [-2.0, 0, 0, 60], [0, 1.5, 0, 10], [0, 0, 0, 1]],
    "oblique": [[1.6, -1.2, 0, 7], [1.2, 1.6, 0, -9], [0, 0, 3.0, 11], [0, 0, 0, 1]],
}


def position(matrix, index_zyx) -> np.ndarray:
    """RAS mm of a voxel (Z, Y, X)."""
    return (np.asarray(matrix) @ [*index_zyx[::-1], 1.0])[:3]


@pytest.mark.parametrize("name", AFFINES)
def test_a_cropped_voxel_stays_where_it_is_and_keeps_its_value(name):
    whole = image_from_array(np.arange(np.prod(SHAPE), dtype=np.int32).reshape(SHAPE), affine=np.array(AFFINES[name]))
    part = cropped(whole, (slice(2, 9), slice(5, 6), slice(7, 16)))
    assert part.array.shape == (1, 7, 1, 9)
    for index in ((0, 0, 0), (6, 0, 8), (3, 0, 4)):
        there = tuple(np.add(index, (2, 5, 7)).tolist())
        np.testing.assert_allclose(position(part.geometry.matrix, index), position(whole.geometry.matrix, there))
        assert part.array[(0, *index)] == whole.array[(0, *there)]


@pytest.mark.parametrize("name", AFFINES)
def test_a_box_holds_exactly_the_voxels_that_are_near_enough(name):
    geometry = Geometry(SHAPE, np.array(AFFINES[name], dtype=float))
    center, size_mm = (6.0, 7.0, 8.0), (12.0, 10.0, 6.0)
    box = box_around(geometry, position(geometry.matrix, center), size_mm)
    for part, middle, size, spacing in zip(box, center, size_mm, geometry.spacing_mm):
        distances = np.abs(np.arange(part.start, part.stop) - middle) * spacing
        assert distances.max() < size / 2 + spacing  # whole voxels
        assert min(middle - part.start, part.stop - 1 - middle) * spacing >= size / 2


def test_a_box_ends_at_the_edges_and_is_empty_outside():
    geometry = Geometry(SHAPE, np.eye(4))
    assert box_around(geometry, (0, 13, 5.5), (6, 6, 6)) == (slice(2, 10), slice(10, 14), slice(0, 4))
    outside = box_around(geometry, (50, 7, 6), (6, 6, 6))
    assert outside[2].start == outside[2].stop


def test_the_filled_box_is_the_smallest_and_none_where_nothing_is():
    labels = np.zeros(SHAPE, dtype=np.uint8)
    assert filled_box(labels) is None
    labels[3, 4, 5] = labels[7, 4, 15] = labels[5, 0, 9] = 2
    assert filled_box(labels) == (slice(3, 8), slice(0, 5), slice(5, 16))
