"""Labels are cleaned, and told of in numbers, as TotalSegmentator does it."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from TuckerSegLib import image_from_array
from TuckerSegLib.outputs.structure_statistics import structure_statistics
from TuckerSegLib.postprocessing.cleaning import clean
from TuckerSegLib.postprocessing.vertebrae import refine_vertebrae
from TuckerSegLib.records.cleaning import Cleaning

theirs = pytest.importorskip("totalsegmentator.postprocessing")
class_map = pytest.importorskip("totalsegmentator.map_to_binary").class_map


def cleaned(labels, spacing, kind):
    """Labels (X, Y, Z) cleaned here."""
    own = labels.T.copy()
    geometry = image_from_array(own.astype(np.int16), affine=np.diag([*spacing, 1.0])).geometry
    clean(own, Cleaning(kind), class_map[kind], geometry)
    return own.T, geometry


@pytest.mark.parametrize("highest", [24, 12])
@pytest.mark.parametrize("touching", [False, True])
def test_vertebrae_are_numbered_and_grown_as_there(highest, touching):
    labels, spacing = np.zeros((40, 40, 120), np.uint8), (1.5, 1.5, 3.0)
    for place, value in enumerate(range(highest, highest - 9, -1)):
        labels[15:25, 15:25, 4 + 12 * place : 10 + 12 * place] = value
    if touching:
        labels[15:25, 15:25, 6:8] = highest - 1
    labels[2, 2, 2] = 5
    expected = theirs.postprocess_vertebrae_pp(
        labels.copy(), class_map["vertebrae_pp"], voxel_volume=np.prod(spacing), voxel_spacing=spacing
    )
    assert np.array_equal(cleaned(labels, spacing, "vertebrae_pp")[0], expected)


def test_vertebrae_end_with_their_bodies_as_there():
    labels, spacing = np.zeros((40, 40, 60), np.uint8), (1.0, 1.0, 2.0)  # of which 2 mm are whole numbers
    labels[12:25, 15:25, 20:26], labels[12:25, 15:25, 32:38] = 24, 23
    body = (np.random.default_rng(0).random(labels.shape) < 0.7).astype(np.uint8)
    names = class_map["vertebrae_pp"]
    expected = theirs.refine_vertebrae_pp_with_body_mask(labels.copy(), body, names, spacing)
    own = labels.T.copy()
    refine_vertebrae(own, image_from_array(own.astype(np.int16), affine=np.diag([*spacing, 1.0])).geometry, body.T == 1)
    assert np.array_equal(own.T, expected)


def test_a_body_is_cleaned_and_told_of_as_there():
    from totalsegmentator.statistics import get_basic_statistics

    random, names, spacing = np.random.default_rng(0), class_map["body"], (3.0, 3.0, 3.0)
    labels = random.integers(0, 3, (10, 10, 10)).repeat(5, 0).repeat(5, 1).repeat(5, 2).astype(np.uint8)
    expected = theirs.keep_largest_blob_multilabel(labels.copy(), names, ["body_trunc"])
    extremities = ["body_extremities"]
    expected = theirs.remove_small_blobs_multilabel(expected, names, extremities, interval=[50_000 / 27, 1e10])
    own, geometry = cleaned(labels, spacing, "body")
    assert np.array_equal(own, expected)
    values = (random.normal(size=labels.shape) * 300).astype(np.float32)
    image = nibabel.Nifti1Image(values, np.diag([*spacing, 1.0]))
    for cut_ones in (False, True):
        stated = get_basic_statistics(expected, image, task="body", exclude_masks_at_border=not cut_ones, quiet=True)
        assert structure_statistics(expected.T, values.T, geometry, names, cut_ones) == stated
