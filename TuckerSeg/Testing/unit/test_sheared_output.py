"""Labels of sheared grids in NIfTI lie at the same place for every program."""

from __future__ import annotations

import warnings

import nibabel
import numpy as np
import pytest
import SimpleITK

from TuckerSegLib.image import Geometry, read_image, write_labels
from TuckerSegLib.image.right_angles import on_right_angles

TILTS = {
    "gantry": [[0.8, 0, 0], [0, 0.7, 0.2], [0, 0, 2.5]],
    "columns": [[0.8, 0.05, 0], [0, 0.7, 0], [0, 0, 2.5]],
    "oblique": [[0.75, -0.2, 0.2], [0.2, 0.7, 0.1], [0.05, 0, -2.4]],
    "axes swapped": [[0, 0, 2.5], [0.8, 0, 0.2], [0, 0.9, 0]],
}


def sheared(name: str) -> tuple[np.ndarray, Geometry]:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = TILTS[name], (-20.0, 15.0, 40.0)
    labels = np.zeros((30, 40, 50), np.uint8)
    labels[2:8, 3:9, 4:12] = 1
    labels[20:29, 28:38, 36:48] = 2
    return labels, Geometry(labels.shape, affine)


def center_mm(array, value, to_mm) -> np.ndarray:
    """The center of a label in RAS mm; ``array`` is indexed by x, y, z."""
    return np.mean([to_mm(index) for index in np.argwhere(array == value)], axis=0)


@pytest.mark.parametrize("name", TILTS)
@pytest.mark.parametrize("extension", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_itk_and_nibabel_find_the_labels_where_they_are(tmp_path, name, extension):
    labels, geometry = sheared(name)
    path = str(tmp_path / f"labels{extension}")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        write_labels(path, labels, geometry, [])
    if extension in (".nrrd", ".mha"):
        assert not said and np.array_equal(read_image(path).array[0], labels)  # they hold the grid itself
        assert read_image(path).geometry.same_grid(geometry)
        return
    assert "sheared" in str(said[0].message) and "nrrd" in str(said[0].message)
    stored = nibabel.load(path)
    by_itk = SimpleITK.ReadImage(path)
    to_lps = by_itk.TransformIndexToPhysicalPoint
    for value in (1, 2):
        expected = center_mm(labels.transpose(2, 1, 0), value, lambda index: geometry.matrix[:3] @ [*index, 1])
        of_nibabel = center_mm(np.asarray(stored.dataobj), value, lambda index: stored.affine[:3] @ [*index, 1])
        array = SimpleITK.GetArrayFromImage(by_itk).transpose(2, 1, 0)
        of_itk = center_mm(array, value, lambda index: np.array(to_lps(index.tolist())) * (-1, -1, 1))
        assert np.abs(of_nibabel - of_itk).max() < 1e-3
        assert np.abs(of_nibabel - expected).max() < 0.35  # half a voxel in a plane
        volumes = [(array == value).sum() * np.prod(by_itk.GetSpacing()), (labels == value).sum() * det(geometry)]
        assert abs(volumes[0] / volumes[1] - 1) < 0.1
    assert np.allclose(stored.get_qform(), stored.get_sform(), atol=1e-4)  # 3D Slicer takes either


def det(geometry: Geometry) -> float:
    return 1000 * geometry.voxel_volume_ml


def test_slices_of_a_tilted_gantry_keep_their_planes_and_no_label_is_lost():
    labels, geometry = sheared("gantry")
    labels[0, 0, 0] = labels[-1, -1, -1] = 9
    moved, regular = on_right_angles(labels, geometry)
    assert moved.shape[0] == labels.shape[0] and moved.shape[2] == labels.shape[2] and regular.shear_degrees < 1e-6
    for plane, moved_plane in zip(labels, moved):
        assert np.bincount(moved_plane.ravel())[1:].tolist() == np.bincount(plane.ravel())[1:].tolist()


def test_right_angles_are_kept_bit_by_bit(tmp_path):
    labels, _ = sheared("gantry")
    geometry = Geometry(labels.shape, np.diag([0.8, 0.7, 2.5, 1.0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_labels(tmp_path / "labels.nii.gz", labels, geometry, [])
    stored = nibabel.load(tmp_path / "labels.nii.gz")
    assert np.array_equal(np.asarray(stored.dataobj).T, labels) and np.allclose(stored.affine, geometry.matrix)
