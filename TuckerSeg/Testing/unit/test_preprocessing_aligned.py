"""Images resampled as TotalSegmentator 2.18 does it before nnU-Net sees them.

``scipy.ndimage.zoom`` by a header's float32 spacing over the wanted one, integers cut towards zero.
"""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from scipy.ndimage import zoom

from TuckerSegLib import image_from_array, load_model
from TuckerSegLib.preprocessing.preprocess import grid_shape, preprocess

NORMALIZATION = {"mean": 20.0, "std": 300.0, "low": -1000.0, "high": 900.0}  # of the test model


@pytest.fixture
def plans_for(make_model_folder):
    def make(spacing_mm: float):
        return load_model(make_model_folder(spacing=(spacing_mm,) * 3)).plans

    return make


def zooms(affine: np.ndarray, spacing_mm: float) -> np.ndarray:
    """(x, y, z) factors, from spacings as a NIfTI header holds them."""
    header = nibabel.Nifti1Image(np.zeros((2, 2, 2), dtype=np.int16), affine).header
    return np.array(header.get_zooms()) / np.array([spacing_mm] * 3)


def affine_of(spacing_mm, angle: float = 0.0) -> np.ndarray:
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing_mm[::-1])
    return affine


@pytest.mark.parametrize("target", [1.5, 3.0, 6.0])
def test_sizes_that_fall_on_a_half_are_rounded_alike(plans_for, target):
    plans, compared = plans_for(target), 0
    for spacing in (0.6, 0.7, 0.75, 0.9, 1.05, 1.35, 1.5, 2.1, 3.15, 4.2):
        for angle in (0.0, 0.3):
            affine = affine_of((spacing,) * 3, angle)
            for size in range(35, 400, 5):
                shape = (size, size + 1, size + 2)
                geometry = image_from_array(np.broadcast_to(np.int16(0), shape), affine=affine).geometry
                expected = [round(count * factor) for count, factor in zip(shape[::-1], zooms(affine, target))]
                assert grid_shape(geometry, plans, "aligned") == tuple(expected[::-1]), (spacing, size)
                compared += any(abs(count * spacing / target % 1 - 0.5) < 1e-6 for count in shape)
    assert compared > 100, "too few sizes lie on a half"


@pytest.mark.parametrize(
    ("shape", "spacing_mm"),
    [((41, 37, 53), (1.05, 0.7, 2.1)), ((35, 44, 29), (3.0, 1.5, 4.2))],
)
def test_hounsfield_units_are_those_of_scipy_cut_to_integers(plans_for, shape, spacing_mm):
    plans = plans_for(3.0)
    values = np.random.default_rng(0).uniform(-990, 890, shape).astype(np.float32)
    affine = affine_of(spacing_mm)
    normalized = preprocess(image_from_array(values, affine=affine), plans, "aligned").data[0]
    resampled = zoom(values.T.astype(np.float64), zooms(affine, 3.0), order=1, mode="nearest").T
    expected = torch.from_numpy(resampled.astype(np.int32).astype(np.float32))
    hounsfield = normalized * NORMALIZATION["std"] + NORMALIZATION["mean"]
    assert hounsfield.shape == expected.shape
    difference = (hounsfield - expected).abs()
    assert difference.max() < 1.001  # rounding noise next to an integer
    assert (difference < 0.001).double().mean() > 0.999


def test_an_image_of_the_right_spacing_is_left_as_it_is(plans_for):
    values = np.random.default_rng(1).uniform(-990, 890, (20, 21, 22)).astype(np.float32)
    normalized = preprocess(image_from_array(values, spacing_mm=(3.0, 3.0, 3.0)), plans_for(3.0), "aligned").data[0]
    hounsfield = normalized * NORMALIZATION["std"] + NORMALIZATION["mean"]
    assert (hounsfield - torch.from_numpy(values)).abs().max() < 0.001
