"""A region of a volume, seen from a box of it."""

import numpy as np
import pytest

from TuckerSegLib.preprocessing.roi import Region

WHOLE = tuple(slice(0, size) for size in (20, 30, 40))


def test_of_the_whole_volume_the_mask_itself_is_wanted():
    mask = np.ones((2, 3, 4), bool)
    assert Region(mask).within((20, 30, 40), WHOLE) is mask
    assert Region().within((20, 30, 40), (slice(0, 5),) * 3) is None


@pytest.mark.parametrize("cells", [(20, 30, 40), (7, 30, 11)])
def test_a_box_wants_the_voxels_that_touch_a_wanted_cell(cells):
    random = np.random.default_rng(0)
    mask, box = random.random(cells) < 0.1, (slice(3, 17), slice(0, 30), slice(11, 12))
    found = Region(mask).within((20, 30, 40), box)
    assert found.shape == (14, 30, 1)
    for place in random.integers((14, 30, 1), size=(60, 3)):
        ranges = [
            slice((start + at.start) * count // size, -(-(start + at.start + 1) * count // size))
            for start, at, count, size in zip(place, box, cells, (20, 30, 40))
        ]
        assert found[tuple(place)] == mask[tuple(ranges)].any()
