"""Labeled datasets: their cases, their errors, and their labels on the model's grid."""

from __future__ import annotations

import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest

from TuckerSegLib import load_model
from TuckerSegLib.errors import DatasetError, UnsupportedModelError
from TuckerSegLib.image import image_from_array
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.preprocessing.preprocess import preprocess
from TuckerSegLib.training.finetuning.dataset import read_raw_dataset
from TuckerSegLib.training.finetuning.label_grid import labels_on_grid
from TuckerSegLib.training.finetuning.preparation import TrainingSet, prepare_dataset

LABELS = {"background": 0, "ball": 1, "cube": 2}


def test_the_cases_of_a_raw_dataset_are_found(make_shapes_dataset, shapes_model):
    folder = make_shapes_dataset(cases=2)
    dataset = read_raw_dataset(folder, shapes_model.plans)
    assert [case.identifier for case in dataset.cases] == ["case0", "case1"]
    assert dataset.cases[1].images == (folder / "imagesTr" / "case1_0000.nii.gz",)
    assert dataset.cases[1].labels == folder / "labelsTr" / "case1.nii.gz"
    assert dataset.ignore_label is None


def test_files_named_in_dataset_json_are_taken(make_shapes_dataset, shapes_model):
    folder = make_shapes_dataset(cases=2)
    document = json.loads((folder / "dataset.json").read_text())
    files = {"images": ["imagesTr/case1_0000.nii.gz"], "label": str(folder / "labelsTr" / "case1.nii.gz")}
    (folder / "dataset.json").write_text(json.dumps(document | {"dataset": {"only": files}}))
    (case,) = read_raw_dataset(folder, shapes_model.plans).cases
    assert case.identifier == "only" and case.labels.is_file() and case.images[0].is_file()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"background": 0, "ball": 1, "liver": 2}, "2: expected 'cube', found 'liver'"),
        ({"background": 0, "ball": 1}, "2: expected 'cube', found nothing"),
        ({**LABELS, "liver": 3}, "3: expected nothing, found 'liver'"),
        ({"background": 0, "ball": 2, "cube": 1}, "1: expected 'ball', found 'cube'"),
        ({**LABELS, "ignore": 2}, "2: expected 'cube', found 'ignore'"),
        ({"background": 0, "ball": [1, 2], "cube": 2}, "found {'ball': \\[1, 2\\]}"),
    ],
)
def test_labels_that_are_not_the_models_are_refused_with_what_was_expected_and_found(
    make_shapes_dataset, shapes_model, labels, message
):
    with pytest.raises(DatasetError, match=message):
        read_raw_dataset(make_shapes_dataset(labels=labels), shapes_model.plans)


def test_an_ignore_label_is_taken(make_shapes_dataset, shapes_model):
    dataset = read_raw_dataset(make_shapes_dataset(labels={**LABELS, "ignore": 3}), shapes_model.plans)
    assert dataset.ignore_label == 3


def test_a_model_with_regions_is_refused(make_shapes_dataset, shapes_model):
    with pytest.raises(UnsupportedModelError, match="regions"):
        read_raw_dataset(make_shapes_dataset(), replace(shapes_model.plans, region_values=(1, 2), logit_channels=2))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("labels", []),
        ("labels", "liver"),
        ("channel_names", "CT"),
        ("channel_names", 1),
        ("modality", ["CT"]),
        ("file_ending", 5),
        ("file_ending", "/../../x"),
        ("file_ending", "*"),
        ("file_ending", ""),
    ],
)
def test_a_field_of_dataset_json_that_is_malformed_is_named(make_shapes_dataset, shapes_model, field, value):
    folder = make_shapes_dataset()
    document = json.loads((folder / "dataset.json").read_text()) | {field: value}
    (folder / "dataset.json").write_text(json.dumps(document))
    with pytest.raises(DatasetError, match=f"dataset.json: {field} missing or malformed"):
        read_raw_dataset(folder, shapes_model.plans)


def test_a_dataset_that_names_no_case_is_refused(make_shapes_dataset, shapes_model):
    folder = make_shapes_dataset()
    document = json.loads((folder / "dataset.json").read_text()) | {"dataset": {}}
    (folder / "dataset.json").write_text(json.dumps(document))
    with pytest.raises(DatasetError, match="dataset names no case"):
        read_raw_dataset(folder, shapes_model.plans)


def test_a_label_that_is_true_is_no_number(make_shapes_dataset, shapes_model):
    with pytest.raises(DatasetError, match="found {'ball': True}"):
        read_raw_dataset(make_shapes_dataset(labels={"background": 0, "ball": True, "cube": 2}), shapes_model.plans)


def test_a_folder_without_dataset_json_is_refused(tmp_path, shapes_model):
    with pytest.raises(DatasetError, match="dataset.json cannot be read.*Expected an nnU-Net v2 raw dataset"):
        read_raw_dataset(tmp_path, shapes_model.plans)


def test_other_channels_are_refused(make_shapes_dataset, shapes_model):
    folder = make_shapes_dataset()
    document = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(document | {"channel_names": {"0": "T1", "1": "T2"}}))
    with pytest.raises(DatasetError, match=r"expects 1 channel\(s\) \(CT\); found 2 \(T1, T2\)"):
        read_raw_dataset(folder, shapes_model.plans)


def test_a_missing_label_file_is_named(make_shapes_dataset, shapes_model):
    folder = make_shapes_dataset()
    (folder / "labelsTr" / "case1.nii.gz").unlink()
    with pytest.raises(DatasetError, match="case1.nii.gz of the case case1 is missing"):
        read_raw_dataset(folder, shapes_model.plans)


def test_a_value_that_no_label_has_is_refused(make_shapes_dataset, shapes_model):
    folder = make_shapes_dataset()
    labels = np.zeros((24, 24, 24), np.uint8)
    labels[3] = 7
    nibabel.save(nibabel.Nifti1Image(labels, np.diag([3.0, 3.0, 3.0, 1.0])), folder / "labelsTr" / "case1.nii.gz")
    with pytest.raises(DatasetError, match="case1.nii.gz: expected the labels of dataset.json, 0 to 2; found 7"):
        prepare_dataset(read_raw_dataset(folder, shapes_model.plans), shapes_model.plans)


def test_labels_off_the_images_grid_are_refused(make_shapes_dataset, shapes_model):
    folder = make_shapes_dataset()
    labels = nibabel.Nifti1Image(np.zeros((24, 24, 24), np.uint8), np.diag([2.0, 3.0, 3.0, 1.0]))
    nibabel.save(labels, folder / "labelsTr" / "case0.nii.gz")
    with pytest.raises(DatasetError, match="case0.nii.gz: expected on the grid of its image"):
        prepare_dataset(read_raw_dataset(folder, shapes_model.plans), shapes_model.plans)


def test_prepared_files_hold_what_memory_would(make_shapes_dataset, shapes_model, shapes_set, tmp_path):
    raw = read_raw_dataset(make_shapes_dataset(name="Dataset002_Same"), shapes_model.plans)
    events = []
    stored = prepare_dataset(raw, shapes_model.plans, tmp_path, Monitor(on_event=events.append))
    for one, other in zip(stored.cases, shapes_set.cases, strict=True):
        assert isinstance(one.image, np.memmap) and not isinstance(other.image, np.memmap)
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.labels, other.labels)
    assert events[0] == {"event": "stage", "stage": "dataset"}
    assert events[-1] == {"event": "progress", "stage": "dataset", "done": 3, "total": 3}


def test_the_places_of_a_label_hold_that_label(shapes_set):
    for case in shapes_set.cases:
        assert list(case.voxels) == [1, 2]
        for value, places in case.voxels.items():
            assert (case.labels[tuple(places.T)] == value).all()


@pytest.mark.parametrize("spacing", [(3.0, 3.0, 3.0), (1.4, 2.2, 2.6), (9.0, 1.5, 1.5)])
@pytest.mark.parametrize("transpose", [(0, 1, 2), (2, 0, 1)])
def test_labels_reach_the_models_grid_as_nnunet_takes_them(shapes, make_model_folder, spacing, transpose):
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape

    plans = load_model(make_model_folder(labels=LABELS, spacing=(2.0, 2.0, 2.0), transpose=transpose)).plans
    intensities, labels = shapes(1)
    labels = labels[:22, :, 1:]
    image = image_from_array(intensities[:22, :, 1:], spacing_mm=spacing)
    volume = preprocess(image, plans, "nnunet")
    grid = labels_on_grid(labels, image.array, volume, plans, "nnunet")
    turned = volume.label_view(labels)
    current = [spacing[axis] for axis in transpose]
    expected = resample_data_or_seg_to_shape(
        turned[None], volume.data.shape[1:], current, plans.spacing_mm, is_seg=True, order=1, order_z=0,
        force_separate_z=None,
    )[0]  # fmt: skip
    assert grid.shape == tuple(volume.data.shape[1:]) and set(np.unique(grid)) == {0, 1, 2}
    assert (grid != expected).mean() < 1e-4  # equal scores may round to either side


def test_labels_of_an_aligned_model_are_of_the_nearest_voxel(shapes, shapes_model):
    from scipy.ndimage import zoom

    intensities, labels = shapes(2)
    image = image_from_array(intensities, spacing_mm=(1.75, 1.75, 1.75))
    volume = preprocess(image, shapes_model.plans, "aligned")
    grid = labels_on_grid(labels, image.array, volume, shapes_model.plans, "aligned")
    oriented = volume.label_view(labels)
    np.testing.assert_array_equal(grid, zoom(oriented, 14 / 24, order=0, mode="nearest"))


def test_labels_of_an_aligned_model_are_cropped_as_the_image_is(shapes, shapes_model):
    intensities, labels = (np.pad(values, ((5, 3), (4, 0), (0, 0))) for values in shapes(2))
    image = image_from_array(intensities, spacing_mm=shapes_model.plans.spacing_mm)
    volume = preprocess(image, shapes_model.plans, "aligned")
    grid = labels_on_grid(labels, image.array, volume, shapes_model.plans, "aligned")
    assert grid.shape == tuple(volume.data.shape[1:]) == (24, 24, 24)
    np.testing.assert_array_equal(grid, volume.label_view(labels)[volume.part])


def test_voxels_outside_a_mask_are_marked(shapes, make_model_folder):
    plans = load_model(make_model_folder(labels=LABELS, normalization="ZScoreNormalization")).plans
    plans = replace(plans, normalization=tuple(replace(each, use_mask=True) for each in plans.normalization))
    intensities, labels = shapes(0)
    intensities[labels == 0] = 0
    image = image_from_array(intensities, spacing_mm=(3.0, 3.0, 3.0))
    volume = preprocess(image, plans, "nnunet")
    grid = labels_on_grid(labels, image.array, volume, plans, "nnunet")
    view = volume.label_view(labels)
    np.testing.assert_array_equal(grid == -1, view == 0)
    np.testing.assert_array_equal(grid[grid > 0], view[view > 0])


def test_the_split_holds_some_cases_back_and_depends_on_the_seed(shapes_set):
    many = TrainingSet(tuple(replace(shapes_set.cases[0], identifier=str(number)) for number in range(10)))
    training, validation = many.split(0.2, seed=0)
    assert len(training) == 8 and len(validation) == 2
    assert {case.identifier for case in (*training, *validation)} == set(map(str, range(10)))
    again = many.split(0.2, seed=0)[1]
    others = [tuple(case.identifier for case in many.split(0.2, seed)[1]) for seed in range(5)]
    assert tuple(case.identifier for case in again) == others[0] and len(set(others)) > 1
    with pytest.raises(DatasetError, match="at least 2 labeled cases.*found 1"):
        TrainingSet(shapes_set.cases[:1]).split(0.2, 0)
