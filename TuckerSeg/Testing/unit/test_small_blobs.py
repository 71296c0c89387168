"""Small separate blobs of structures, removed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from TuckerSegLib.errors import Cancelled
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.postprocessing.small_blobs import remove_small_blobs


def noisy_labels(seed: int, dtype=np.uint8) -> np.ndarray:
    """Blobs of several structures, large and small, that touch each other and the border."""
    coarse = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(40, 30, 35)), 1.2)
    return np.digitize(coarse, np.quantile(coarse, [0.5, 0.7, 0.85, 0.95])).astype(dtype)


def plain(labels: np.ndarray, largest: float) -> np.ndarray:
    """Structure by structure over the whole volume, as TotalSegmentator does."""
    kept = np.zeros_like(labels)
    for value in np.unique(labels)[1:]:
        numbers, _ = ndimage.label(labels == value)
        sizes = np.bincount(numbers.ravel())
        kept[(numbers > 0) & ~(sizes <= largest)[numbers]] = value
    return kept


@pytest.mark.parametrize("largest", [0.5, 1, 7.9, 30, 400, 1e9])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_is_left_is_what_the_plain_way_leaves(largest, dtype):
    for seed in range(3):
        labels = noisy_labels(seed, dtype)
        expected = plain(labels, largest)
        before = labels.copy()
        removed = remove_small_blobs(labels, largest)
        np.testing.assert_array_equal(labels, expected)
        assert removed.voxels == np.count_nonzero(before) - np.count_nonzero(expected)
        assert set(removed.gone) == set(np.unique(before)) - set(np.unique(expected)) - {0}
        count = sum(ndimage.label(before == value)[1] for value in np.unique(before)[1:])
        left = sum(ndimage.label(expected == value)[1] for value in np.unique(expected) if value)
        assert (removed.blobs_before, sum(removed.blobs.values())) == (count, count - left)


def test_voxels_that_share_a_face_belong_together_and_those_that_share_an_edge_do_not():
    labels = np.zeros((3, 3, 3), np.uint8)
    labels[0, 0, 0] = labels[0, 0, 1] = labels[0, 1, 2] = labels[2, 2, 2] = 5
    assert remove_small_blobs(labels, 1).blobs == {5: 2}
    assert labels[0, 0].tolist() == [5, 5, 0]


def test_a_view_is_changed_in_place():
    volume = noisy_labels(0)
    expected = plain(volume[::2, :, ::-1], 20)
    view = volume[::2, :, ::-1]
    remove_small_blobs(view, 20)
    np.testing.assert_array_equal(volume[::2, :, ::-1], expected)


def test_it_can_be_stopped():
    def stop():
        raise Cancelled

    with pytest.raises(Cancelled):
        remove_small_blobs(noisy_labels(0), 5, Monitor(cancelled=stop))
