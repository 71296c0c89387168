"""Grids, orientations, label volumes."""

import itertools
import json

import nibabel
import numpy as np
import pytest

from TuckerSegLib.image import Geometry, oriented, segment_volumes_ml, voxel_counts
from TuckerSegLib.records import serialization as records

ORIENTATIONS = [
    "".join(pair[flip] for pair, flip in zip(order, flips, strict=True))
    for order in itertools.permutations(["RL", "AP", "SI"])
    for flips in itertools.product([0, 1], repeat=3)
]
OBLIQUE = nibabel.affines.from_matvec(nibabel.eulerangles.euler2mat(0.3, -0.2, 0.25), [12, -7, 31])


def affine_of(codes, spacing=(0.7, 1.1, 2.5), tilt=None):
    columns = np.zeros((4, 4))
    for axis, code in enumerate(codes):
        row = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}[code]
        columns[row, axis] = spacing[axis] * (1 if code in "RAS" else -1)
    columns[:, 3] = [-20, 30, 5, 1]
    return columns if tilt is None else tilt @ columns


@pytest.mark.parametrize("tilt", [None, OBLIQUE], ids=["straight", "oblique"])
@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_any_of_the_48_orientations_is_seen_as_nibabel_sees_it(codes, tilt):
    affine = affine_of(codes, tilt=tilt)
    array = np.arange(3 * 4 * 5, dtype=np.int16).reshape(5, 4, 3)  # Z, Y, X
    geometry = Geometry(array.shape, affine)
    assert "".join(geometry.axis_codes) == codes

    view, seen = oriented(array, geometry, "RAS")
    expected = nibabel.as_closest_canonical(nibabel.Nifti1Image(array.T, affine))
    np.testing.assert_array_equal(view, np.asarray(expected.dataobj).T)
    np.testing.assert_allclose(seen.matrix, expected.affine, atol=1e-6)
    assert np.shares_memory(view, array)


@pytest.mark.parametrize("target", ["LPS", "SAR", "IRP"])
@pytest.mark.parametrize("codes", ORIENTATIONS[::5])
def test_a_voxel_keeps_its_value_and_its_place_in_the_patient(codes, target):
    array = np.random.default_rng(0).normal(size=(2, 5, 4, 3))
    geometry = Geometry(array.shape[1:], affine_of(codes, tilt=OBLIQUE))
    view, seen = oriented(array, geometry, target)
    assert "".join(seen.axis_codes) == target
    assert view.shape[1:] == seen.shape
    to_input = np.linalg.inv(geometry.matrix) @ seen.matrix
    for z, y, x in np.ndindex(seen.shape):
        i, j, k = np.rint((to_input @ [x, y, z, 1])[:3]).astype(int)
        np.testing.assert_array_equal(view[:, z, y, x], array[:, k, j, i])


def test_writing_into_a_view_fills_the_labels_in_the_input_orientation():
    labels = np.zeros((5, 4, 3), np.uint8)
    view, _ = oriented(labels, Geometry(labels.shape, affine_of("LIP")), "RAS")
    view[0, 0, 0] = 7  # leftmost, backmost, lowest
    assert labels[-1, -1, -1] == 7 and labels.sum() == 7


@pytest.mark.parametrize("codes", ["RA", "RAR", "XYZ", "RAL"])
def test_codes_that_do_not_name_three_axes_are_refused(codes):
    with pytest.raises(ValueError, match="one each of"):
        oriented(np.zeros((2, 2, 2)), Geometry((2, 2, 2), np.eye(4)), codes)


def test_spacing_volume_and_shear_come_from_the_affine():
    sheared = affine_of("RAS")
    sheared[1, 2] = np.tan(np.radians(10)) * sheared[2, 2]
    geometry = Geometry((5, 4, 3), sheared)
    assert geometry.spacing_mm == pytest.approx((2.5 / np.cos(np.radians(10)), 1.1, 0.7))
    assert geometry.shear_degrees == pytest.approx(10)
    assert geometry.voxel_volume_ml == pytest.approx(0.7 * 1.1 * 2.5 / 1000)
    assert Geometry((5, 4, 3), affine_of("LSA", tilt=OBLIQUE)).shear_degrees == pytest.approx(0, abs=1e-5)


def test_a_geometry_survives_json_and_compares_by_value():
    geometry = Geometry((5, 4, 3), affine_of("LPS", tilt=OBLIQUE))
    again = records.from_json(Geometry, json.loads(json.dumps(records.to_json(geometry))))
    assert again == geometry and hash(again) == hash(geometry)


def test_grids_are_the_same_up_to_a_tenth_of_a_voxel():
    geometry = Geometry((50, 40, 30), affine_of("RAS"))
    nudged, moved = geometry.matrix, geometry.matrix
    nudged[0, 3] += 0.06
    moved[0, 3] += 0.08
    assert geometry.same_grid(Geometry(geometry.shape, nudged))
    assert not geometry.same_grid(Geometry(geometry.shape, moved))
    assert not geometry.same_grid(Geometry((50, 40, 31), geometry.affine))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(4, 5, 7), (3, 6, 8)])
def test_label_volumes_are_voxels_times_their_size(dtype, shape):
    labels = np.random.default_rng(1).integers(0, 250, shape).astype(dtype)
    labels = labels.transpose(0, 2, 1)
    geometry = Geometry(labels.shape, affine_of("LAS"))
    assert voxel_counts(labels).tolist() == [(labels == value).sum() for value in range(np.iinfo(dtype).max + 1)]
    volumes = segment_volumes_ml(labels, geometry, [3, 249, 255])
    assert volumes[3] == pytest.approx((labels == 3).sum() * 0.7 * 1.1 * 2.5 / 1000)
    assert volumes[255] == 0
