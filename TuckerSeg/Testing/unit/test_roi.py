"""The mask of a region of interest, seen from a box of the volume."""

import numpy as np
import pytest

from TuckerSegLib.preprocessing.roi import Roi

WHOLE = tuple(slice(0, size) for size in (20, 30, 40))


def test_the_mask_within_the_whole_volume_is_the_mask_itself():
    mask = np.ones((2, 3, 4), bool)
    assert Roi(mask).mask_within((20, 30, 40), WHOLE) is mask
    assert Roi().mask_within((20, 30, 40), (slice(0, 5),) * 3) is None


@pytest.mark.parametrize("cells", [(20, 30, 40), (7, 30, 11)])
def test_the_mask_within_a_box_holds_the_voxels_that_touch_a_true_cell(cells):
    random = np.random.default_rng(0)
    mask, box = random.random(cells) < 0.1, (slice(3, 17), slice(0, 30), slice(11, 12))
    box_mask = Roi(mask).mask_within((20, 30, 40), box)
    assert box_mask.shape == (14, 30, 1)
    for place in random.integers((14, 30, 1), size=(60, 3)):
        ranges = [
            slice((start + at.start) * count // size, -(-(start + at.start + 1) * count // size))
            for start, at, count, size in zip(place, box, cells, (20, 30, 40))
        ]
        assert box_mask[tuple(place)] == mask[tuple(ranges)].any()
