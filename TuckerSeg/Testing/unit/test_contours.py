"""Outlines of masks, filled again by rules that have nothing to do with how they were made."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.path import Path as Outline

from TuckerSegLib.outputs.dicom.contours import outlines


def filled(polygons, shape) -> np.ndarray:
    """Pixels whose centers lie within the polygons, by the even-odd rule over each ray to the left."""
    inside = np.zeros(shape, dtype=bool)
    for polygon in polygons:
        for (x0, y0), (x1, y1) in zip(polygon, polygon[1:] + polygon[:1]):
            if x0 == x1:
                rows = slice(min(y0, y1), max(y0, y1))
                inside[rows, x0:] ^= True
    return inside


def filled_by_matplotlib(polygons, shape) -> np.ndarray:
    """The same by another's way of telling whether a center is inside, polygon by polygon."""
    ys, xs = np.mgrid[: shape[0], : shape[1]]
    centers = np.stack([xs.ravel() + 0.5, ys.ravel() + 0.5], axis=1)
    inside = np.zeros(xs.size, dtype=bool)
    for polygon in polygons:
        inside |= Outline([*polygon, polygon[0]], closed=True).contains_points(centers)
    return inside.reshape(shape)


def winding_numbers(polygons, shape) -> np.ndarray:
    """How often the polygons go around the center of each pixel."""
    winding = np.zeros(shape, dtype=int)
    for polygon in polygons:
        for (x0, y0), (x1, y1) in zip(polygon, polygon[1:] + polygon[:1]):
            if x0 == x1:
                winding[min(y0, y1) : max(y0, y1), x0:] += np.sign(y0 - y1)
    return winding


def disc_with_holes() -> np.ndarray:
    ys, xs = np.mgrid[:40, :40]
    mask = np.hypot(xs - 20, ys - 19) < 17
    for x, y, radius in ((12, 18, 3), (20, 18, 3), (28, 20, 4), (20, 30, 2)):
        mask &= np.hypot(xs - x, ys - y) >= radius
    return mask | (np.hypot(xs - 28, ys - 20) < 2)  # an island within a hole


MASKS = {
    "one pixel": np.ones((1, 1), bool),
    "all": np.ones((3, 5), bool),
    "ring": np.pad(np.zeros((2, 3), bool), 1, constant_values=True),
    "touching pixels": np.eye(4, dtype=bool),
    "the other way": np.eye(4, dtype=bool)[::-1],
    "chessboard": np.indices((7, 6)).sum(axis=0) % 2 == 0,
    "holes that touch": ~np.pad(np.eye(3, dtype=bool), 1),
    "disc with holes": disc_with_holes(),
    "noise": np.random.default_rng(0).random((30, 27)) < 0.6,
    "dense noise": np.random.default_rng(1).random((30, 27)) < 0.9,
}


@pytest.mark.parametrize("name", MASKS)
def test_outlines_enclose_exactly_the_pixels_of_a_mask(name):
    mask = MASKS[name]
    polygons = outlines(mask)
    np.testing.assert_array_equal(filled(polygons, mask.shape), mask)
    np.testing.assert_array_equal(filled_by_matplotlib(polygons, mask.shape), mask)
    np.testing.assert_array_equal(np.abs(winding_numbers(polygons, mask.shape)), mask)


def test_a_hole_is_part_of_the_polygon_around_it():
    from scipy.ndimage import label

    mask = MASKS["disc with holes"]
    assert len(outlines(mask)) == label(mask)[1] == 2


def test_an_empty_mask_has_no_outline():
    assert outlines(np.zeros((4, 4), bool)) == []


def test_corners_that_follow_each_other_differ_and_edges_run_along_pixels():
    for mask in MASKS.values():
        for polygon in outlines(mask):
            steps = np.diff([*polygon, polygon[0]], axis=0)
            assert (np.count_nonzero(steps, axis=1) == 1).all()
