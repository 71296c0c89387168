"""Arrays in memory as images."""

from __future__ import annotations

import numpy as np
import pytest

from TuckerSegLib.errors import ImageError
from TuckerSegLib.image import image_from_array


def test_an_array_with_a_spacing_lies_along_the_patients_axes():
    image = image_from_array(np.zeros((4, 5, 6), np.int16), spacing_mm=(3, 2, 1))
    assert image.array.shape == (1, 4, 5, 6)
    assert image.geometry.spacing_mm == (3, 2, 1)
    assert image.geometry.axis_codes == ("R", "A", "S")


def test_channels_and_an_affine_are_taken_as_they_are():
    affine = np.diag([-1.0, 2.0, 3.0, 1.0])
    image = image_from_array(np.ones((2, 4, 5, 6)), affine=affine)
    assert image.array.dtype == np.float32 or image.array.dtype == np.int16
    np.testing.assert_array_equal(image.geometry.matrix, affine)


def test_not_finite_values_are_cleaned_and_told():
    array = np.random.default_rng(0).normal(size=(4, 5, 6))
    array[0, 0, 0] = np.nan
    image = image_from_array(array, spacing_mm=(1, 1, 1))
    assert np.isfinite(image.array).all()
    assert image.notes


@pytest.mark.parametrize("writeable", [True, False])
def test_the_callers_array_stays_as_it_was(writeable):
    array = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    array[0, 0, 0] = np.nan
    before = array.copy()
    array.flags.writeable = writeable
    assert np.isfinite(image_from_array(array, spacing_mm=(1, 1, 1)).array).all()
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize(
    ("array", "settings"),
    [
        (np.zeros((4, 5)), {"spacing_mm": (1, 1, 1)}),
        (np.zeros((4, 5, 6), complex), {"spacing_mm": (1, 1, 1)}),
        (np.zeros((4, 5, 6)), {}),
        (np.zeros((4, 5, 6)), {"spacing_mm": (1, 1, 1), "affine": np.eye(4)}),
        (np.zeros((4, 5, 6)), {"spacing_mm": (1, 0, 1)}),
    ],
)
def test_what_is_no_image_is_refused(array, settings):
    with pytest.raises(ImageError):
        image_from_array(array, **settings)
