"""Label maps in files: values, names, whose structures are the same, and which files belong together."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from TuckerSegLib.catalog import structures
from TuckerSegLib.errors import ImageError, SpecError
from TuckerSegLib.evaluation.label_files import LabelMap, match_values, pair_files, read_label_map
from TuckerSegLib.evaluation.label_names import named_labels
from TuckerSegLib.image import Geometry, Segment, write_labels

GRID = Geometry((2, 3, 4), np.diag([1.0, 2.0, 3.0, 1.0]))
GRAY = (0.5, 0.5, 0.5)


def labels_of(*values: int) -> np.ndarray:
    """A label map on ``GRID`` with these values first."""
    labels = np.zeros(GRID.shape, np.uint8)
    labels.flat[: len(values)] = values
    return labels


def named_map(labels: np.ndarray, names: dict[int, str]) -> LabelMap:
    return LabelMap(labels, GRID, Path("labels.seg.nrrd"), names)


def write_nifti(path: Path, values: np.ndarray, affine=GRID.affine) -> Path:
    """Write values (Z, Y, X)."""
    nibabel.save(nibabel.Nifti1Image(values.T, np.array(affine)), path)
    return path


def write_segmentation(path: Path, names: dict[int, str], labels: np.ndarray | None = None) -> Path:
    segments = [Segment(value, name, GRAY) for value, name in names.items()]
    labels = labels_of(*names) if labels is None else labels
    write_labels(path, labels, Geometry(labels.shape, GRID.affine), segments)
    return path


def write_dataset(folder: Path, labels: dict, text: str | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(text or json.dumps({"labels": labels}))


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


@pytest.mark.parametrize("extension", [".nii.gz", ".nii", ".nrrd", ".mha", ".seg.nrrd"])
def test_labels_are_read_along_the_patients_axes_from_every_format(tmp_path, extension):
    labels, path = labels_of(1, 2, 3), tmp_path / f"case{extension}"
    write_labels(path, labels, Geometry(GRID.shape, np.diag([-1.0, 2.0, -3.0, 1.0])), [Segment(1, "one", GRAY)])
    label_map = read_label_map(path)
    np.testing.assert_array_equal(label_map.array, labels[::-1, :, ::-1])
    assert label_map.geometry.axis_codes == ("R", "A", "S")
    assert label_map.geometry.spacing_mm == (3, 2, 1)


@pytest.mark.parametrize("scale", [1.0, 1 / 255])
def test_floats_that_stand_for_whole_numbers_are_labels(tmp_path, scale):
    labels = labels_of(*range(20))
    stored = (labels / scale * (1 - 1e-6)).astype(np.float32)  # what a scale factor leaves of 19 is 18.99998
    image = nibabel.Nifti1Image(stored.T, np.array(GRID.affine))
    image.header.set_slope_inter(scale, 0)
    nibabel.save(image, tmp_path / "case.nii")
    whole = read_label_map(tmp_path / "case.nii").array
    assert whole.dtype.kind in "iu"
    np.testing.assert_array_equal(whole, labels)


@pytest.mark.parametrize("values", [[-1, 3], [0, 70000], [0, 1.5]])
def test_an_image_is_not_taken_for_labels(tmp_path, values):
    array = np.zeros(GRID.shape, np.float32)
    array.flat[:2] = values
    with pytest.raises(ImageError, match=r"case\.nii: labels are whole numbers from 0 to 65535; .* an image instead"):
        read_label_map(write_nifti(tmp_path / "case.nii", array))


def test_voxels_that_are_no_number_are_background_and_told_of(tmp_path):
    array = np.full(GRID.shape, np.nan, np.float32)
    array.flat[:3] = 1, 2, 1
    label_map = read_label_map(write_nifti(tmp_path / "case.nii", array))
    np.testing.assert_array_equal(label_map.array, np.nan_to_num(array))
    assert label_map.notes == ("21 of 24 voxels were NaN and were set to 0.",)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_labels_are_refused(tmp_path, value):
    array = labels_of(1, 2).astype(np.float32)
    array[1, 1, 1] = value
    with pytest.raises(ImageError, match="labels are whole numbers from 0 to 65535"):
        read_label_map(write_nifti(tmp_path / "case.nii", array))


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ImageError, match="found a folder"):
        read_label_map(tmp_path)
    for name in ("case.nii", "case.seg.nrrd"):
        with pytest.raises(ImageError, match=name):
            read_label_map(tmp_path / name)


def test_a_segmentation_names_its_values_by_the_standard_where_there_is_one(tmp_path):
    total = named_labels("total")
    titles = {value: structures.title_of(name) for value, name in total.items()}
    path = write_segmentation(
        tmp_path / "total.seg.nrrd", titles, np.arange(120, dtype=np.uint8).reshape(4, 5, 6) % 118
    )
    assert read_label_map(path).names == total
    path = write_segmentation(tmp_path / "own.seg.nrrd", {7: "KIDNEY left", 3: "My cyst"})
    assert read_label_map(path).names == {7: "kidney_left", 3: "My cyst"}


def test_the_name_that_a_segment_was_given_in_slicer_counts_and_not_what_the_model_called_it(tmp_path):
    segments = [Segment(1, "Tumor", GRAY, structures.segment_tags("liver"))]
    write_labels(tmp_path / "case.seg.nrrd", labels_of(1), GRID, segments)
    assert read_label_map(tmp_path / "case.seg.nrrd").names == {1: "Tumor"}


def test_a_segmentation_with_two_segments_of_one_name_is_refused(tmp_path):
    path = write_segmentation(tmp_path / "case.seg.nrrd", {1: "cyst", 2: "Cyst"})
    with pytest.raises(ImageError, match=r"case\.seg\.nrrd: several segments are called 'cyst'"):
        read_label_map(path)


def test_a_segmentation_whose_segments_overlap_is_refused(tmp_path):
    path = write_segmentation(tmp_path / "case.seg.nrrd", {1: "cyst", 2: "liver"})
    content = path.read_bytes()
    assert content.count(b"Segment1_Layer:=0") == 1
    path.write_bytes(content.replace(b"Segment1_Layer:=0", b"Segment1_Layer:=1"))
    with pytest.raises(ImageError, match="segments overlap"):
        read_label_map(path)


def test_a_segmentation_with_a_damaged_value_is_refused(tmp_path):
    path = write_segmentation(tmp_path / "case.seg.nrrd", {1: "cyst"})
    path.write_bytes(path.read_bytes().replace(b"Segment0_LabelValue:=1", b"Segment0_LabelValue:=x"))
    with pytest.raises(ImageError, match="label value of a segment is damaged"):
        read_label_map(path)


def test_names_come_from_the_dataset_json_beside_a_file_without_background_and_regions(tmp_path):
    write_dataset(tmp_path, {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3})
    path = write_nifti(tmp_path / "case.nii", labels_of(1))
    assert read_label_map(path).names == {2: "core", 3: "ignore"}
    assert read_label_map(path, {1: "given"}).names == {1: "given"}


def test_names_come_from_the_dataset_json_above_nnunets_folder_of_labels_only(tmp_path):
    write_dataset(tmp_path, {"background": 0, "core": 1})
    for folder, names in (("labelsTr", {1: "core"}), ("other", {})):
        (tmp_path / folder).mkdir()
        assert read_label_map(write_nifti(tmp_path / folder / "case.nii", labels_of(1))).names == names


def test_a_segmentations_own_names_win_over_a_dataset_json(tmp_path):
    write_dataset(tmp_path, {"background": 0, "core": 1})
    assert read_label_map(write_segmentation(tmp_path / "case.seg.nrrd", {1: "liver"})).names == {1: "liver"}


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"labels": 5}'])
def test_a_damaged_dataset_json_is_named_unless_other_names_are_given(tmp_path, text):
    write_dataset(tmp_path, {}, text)
    path = write_nifti(tmp_path / "case.nii", labels_of(1))
    with pytest.raises(SpecError, match=r"dataset\.json: nnU-Net's dataset\.json was expected"):
        read_label_map(path)
    assert read_label_map(path, {1: "core"}).names == {1: "core"}


def test_structures_of_two_maps_with_names_are_the_same_where_their_names_are():
    prediction = named_map(labels_of(1, 2, 2, 3), {1: "Spleen", 2: "left KIDNEY", 3: "Cyst"})
    reference = named_map(labels_of(5, 1), {5: "spleen", 1: "kidney_left", 9: "liver"})
    labels, names = match_values(prediction, reference)
    np.testing.assert_array_equal(labels, labels_of(5, 1, 1, 3))
    assert names == {5: "spleen", 1: "kidney_left", 9: "liver", 3: "Cyst"}


def test_a_structure_that_the_reference_does_not_name_never_takes_the_value_of_another():
    prediction = named_map(labels_of(1, 2, 4), {1: "cyst", 2: "spleen"})
    reference = named_map(labels_of(1, 4, 6), {1: "spleen", 4: "liver"})
    labels, names = match_values(prediction, reference)
    np.testing.assert_array_equal(labels, labels_of(7, 1, 8))
    assert names == {1: "spleen", 4: "liver", 6: "label 6", 7: "cyst", 8: "label 4"}


@pytest.mark.parametrize(("predicted", "expected"), [({}, {1: "liver"}), ({1: "liver"}, {}), ({}, {})])
def test_structures_are_the_same_where_their_values_are_if_a_map_has_no_names(predicted, expected):
    labels = labels_of(1, 2)
    matched, names = match_values(named_map(labels, predicted), named_map(labels_of(1), expected))
    np.testing.assert_array_equal(matched, labels)
    assert names == predicted | expected


def test_values_are_the_same_in_two_maps_with_the_same_names_even_where_two_names_are_much_alike():
    names = {1: "lesion 1", 2: "lesion_1"}
    matched, _ = match_values(named_map(labels_of(1, 2), names), named_map(labels_of(1), names))
    np.testing.assert_array_equal(matched, labels_of(1, 2))


def test_two_files_are_a_case_named_after_the_reference(tmp_path):
    touch(tmp_path, "anything.mha", "truth.seg.nrrd")
    pairs, alone = pair_files(tmp_path / "anything.mha", tmp_path / "truth.seg.nrrd")
    assert [(pair.case, pair.prediction.name, pair.reference.name) for pair in pairs] == [
        ("truth", "anything.mha", "truth.seg.nrrd")
    ]
    assert alone == []


def test_files_of_two_folders_belong_together_by_their_names_without_extensions(tmp_path):
    names = ("b.nii.gz", "a.seg.nrrd", "c.d.NII", "x.mha", "dataset.json", ".e.nii")
    predictions = touch(tmp_path / "predictions", *names)
    references = touch(tmp_path / "references", "a.nii", "b.nrrd", "c.d.nii.gz", "y.mhd", ".e.nii")
    (predictions / "y.nii").mkdir()
    pairs, alone = pair_files(predictions, references)
    file_names = [(pair.case, pair.prediction.name, pair.reference.name) for pair in pairs]
    assert file_names == [("a", "a.seg.nrrd", "a.nii"), ("b", "b.nii.gz", "b.nrrd"), ("c.d", "c.d.NII", "c.d.nii.gz")]
    assert alone == [predictions / "x.mha", references / "y.mhd"]


def test_what_cannot_be_paired_is_refused(tmp_path):
    first, second = touch(tmp_path / "first", "a.nii"), touch(tmp_path / "second", "b.nii")
    twice = touch(tmp_path / "twice", "a.nii", "a.mha")
    for arguments, words in (
        ((first / "no.nii", second / "b.nii"), "no such file or folder"),
        ((first, second / "b.nii"), "Two label files or two folders"),
        ((first / "a.nii", second), "Two label files or two folders"),
        ((first, second), r"first \(1 label files\) and .*second \(1\) have no case in common"),
        ((twice, first), r"a\.nii and a\.mha are the same case"),
    ):
        with pytest.raises(ImageError, match=words):
            pair_files(*arguments)


def test_labels_are_named_by_totalsegmentators_task_a_model_or_a_dataset_json(tmp_path):
    total, demo = named_labels("total"), named_labels("demo")
    assert len(total) == 117
    assert (total[1], total[117]) == ("spleen", "costal_cartilages")
    assert demo == total
    write_dataset(tmp_path, {"background": 0, "core": 4})
    assert named_labels(str(tmp_path)) == named_labels(str(tmp_path / "dataset.json")) == {4: "core"}


def test_what_names_no_labels_is_refused(tmp_path):
    with pytest.raises(SpecError, match="'liver' names no labels; expected a task as total"):
        named_labels("liver")
    write_dataset(tmp_path, {"0": "background", "1": "liver"})
    with pytest.raises(SpecError, match=r'dataset\.json: expected labels as "liver": 5'):
        named_labels(str(tmp_path))


@pytest.mark.parametrize("value", [-1, 65536, 10**9, 10**30])
def test_a_label_value_that_no_file_holds_is_refused(tmp_path, value):
    write_dataset(tmp_path, {"background": 0, "far": value})
    with pytest.raises(SpecError, match=r"labels are whole numbers from 0 to 65535; found .* for 'far'"):
        named_labels(str(tmp_path))


def test_names_of_labels_are_bounded_and_true_is_no_value(tmp_path):
    write_dataset(tmp_path, {"background": 0, "x" * 100_000: 1, "yes": True, "half": 2.5})
    assert named_labels(str(tmp_path)) == {1: "x" * 256}


def test_a_dataset_json_that_is_nested_without_end_is_refused(tmp_path):
    write_dataset(tmp_path, {}, '{"labels": ' + "[" * 100_000)
    with pytest.raises(SpecError, match="its labels cannot be read"):
        named_labels(str(tmp_path))
