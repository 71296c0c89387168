"""Connected parts are those that scipy finds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from TuckerSegLib.preprocessing.connected_parts import connected_parts


@pytest.mark.parametrize("diagonally", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.9, 1.0])
def test_parts_are_those_of_scipy(diagonally, share):
    random = np.random.default_rng(int(share * 10))
    for shape in ((1, 1, 1), (1, 1, 9), (7, 1, 1), (1, 8, 5), (6, 5, 1), (6, 7, 8), (9, 4, 6)):
        mask = random.random(shape) < share
        labels, count = ndimage.label(mask, np.ones((3, 3, 3)) if diagonally else None)
        found = connected_parts(mask, diagonally)
        assert len(found.voxels) == count
        np.testing.assert_array_equal(found.mask(np.ones(count, dtype=bool)), mask)
        seen = []
        for number in range(count):
            part = found.mask(np.arange(count) == number)
            (label,) = np.unique(labels[part])
            box = ndimage.find_objects(labels)[label - 1]
            np.testing.assert_array_equal(part, labels == label)
            assert found.voxels[number] == part.sum()
            assert tuple(found.extents[number]) == tuple(side.stop - side.start for side in box)
            seen.append(label)
        assert sorted(seen) == list(range(1, count + 1))


def test_parts_that_wind_through_the_volume_are_one():
    mask = np.zeros((9, 40, 40), dtype=bool)
    mask[4, ::2] = True
    mask[4, 1::4, -1] = mask[4, 3::4, 0] = True  # a snake
    assert connected_parts(mask).voxels.tolist() == [mask.sum()]
