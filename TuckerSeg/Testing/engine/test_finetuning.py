"""Labeled fine-tuning: datasets and their errors, labels on the model's grid, patches, and training that can go on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from TuckerSegLib import load_model
from TuckerSegLib.errors import BackendError, Cancelled, DatasetError, ModelFileError, SpecError, UnsupportedModelError
from TuckerSegLib.finetuning.augmentation import Augmentation
from TuckerSegLib.finetuning.dataset import read_raw_dataset
from TuckerSegLib.finetuning.label_grid import labels_on_grid
from TuckerSegLib.finetuning.patches import PatchSampler, batches
from TuckerSegLib.finetuning.preparation import TrainingSet, prepare_dataset
from TuckerSegLib.finetuning.settings import FineTuningRecord, FineTuningSettings
from TuckerSegLib.finetuning.training import fine_tune
from TuckerSegLib.finetuning.validation import mean_patch_dice
from TuckerSegLib.image import image_from_array
from TuckerSegLib.preprocessing import preprocess
from TuckerSegLib.records import from_json, to_json

LABELS = {"background": 0, "ball": 1, "cube": 2}
LIBRARY = str(Path(__file__).resolve().parents[2])
PATCH = (16, 16, 16)
QUICK = FineTuningSettings(epochs=2, iterations=25, learning_rate=3e-3, validation_iterations=4, seed=3)


@pytest.fixture
def make_dataset(tmp_path):
    """A function that writes a raw dataset of small volumes with a bright ball and a brighter cube in air."""

    def make(cases=3, labels=LABELS, ending=".nii.gz", name="Dataset001_Small", blank=False):
        folder = tmp_path / "raw" / name
        for part in ("imagesTr", "labelsTr"):
            (folder / part).mkdir(parents=True)
        document = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": cases, "file_ending": ending}
        (folder / "dataset.json").write_text(json.dumps(document))
        for number in range(cases):
            image, truth = shapes(number)
            affine = np.diag([3.0, 3.0, 3.0, 1.0])
            nibabel.save(nibabel.Nifti1Image(image, affine), folder / "imagesTr" / f"case{number}_0000{ending}")
            written = np.zeros_like(truth) if blank else truth
            nibabel.save(nibabel.Nifti1Image(written, affine), folder / "labelsTr" / f"case{number}{ending}")
        return folder

    return make


def shapes(number: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(number)
    place = np.stack(np.meshgrid(*[np.arange(24)] * 3, indexing="ij"))
    ball, cube = random.integers(6, 9, 3), random.integers(15, 18, 3)
    labels = np.zeros((24, 24, 24), np.uint8)
    labels[np.linalg.norm(place - ball[:, None, None, None], axis=0) < 5] = 1
    labels[np.abs(place - cube[:, None, None, None]).max(axis=0) < 4] = 2
    intensities = np.array([-900, 100, 700])[labels] + random.normal(0, 30, labels.shape)
    return intensities.astype(np.int16), labels


@pytest.fixture
def model(make_model_folder):
    return load_model(make_model_folder(labels=LABELS, patch_shape=PATCH))


@pytest.fixture
def network(model):
    return model.network("0")


@pytest.fixture
def training_set(make_dataset, model):
    return prepare_dataset(read_raw_dataset(make_dataset(), model.plans), model.plans)


def weights(network) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


# Settings and record


def test_the_defaults_are_the_papers():
    settings = FineTuningSettings()
    assert (settings.epochs, settings.iterations, settings.learning_rate, settings.batch_size) == (50, 250, 1e-5, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"iterations": 0},
        {"learning_rate": 0.0},
        {"batch_size": 0},
        {"validation_fraction": 1.0},
        {"validation_iterations": 0},
        {"seed": -1},
    ],
)
def test_a_setting_out_of_range_is_refused_with_what_was_found(wrong):
    with pytest.raises(SpecError, match=str(next(iter(wrong.values())))):
        FineTuningSettings(**wrong)


def test_a_record_goes_through_json():
    record = FineTuningRecord(QUICK, ("a", "b"), ("c",), (0.25, 0.75, 0.5), (1.0, 0.5))
    assert from_json(FineTuningRecord, json.loads(json.dumps(to_json(record)))) == record
    assert (record.epochs_done, record.best_epoch, record.dice_before, record.dice_after) == (2, 1, 0.25, 0.75)


# Dataset


def test_the_cases_of_a_raw_dataset_are_found(make_dataset, model):
    folder = make_dataset(cases=2)
    dataset = read_raw_dataset(folder, model.plans)
    assert [case.identifier for case in dataset.cases] == ["case0", "case1"]
    assert dataset.cases[1].images == (folder / "imagesTr" / "case1_0000.nii.gz",)
    assert dataset.cases[1].labels == folder / "labelsTr" / "case1.nii.gz"
    assert dataset.ignore_label is None


def test_files_named_in_dataset_json_are_taken(make_dataset, model):
    folder = make_dataset(cases=2)
    document = json.loads((folder / "dataset.json").read_text())
    files = {"images": ["imagesTr/case1_0000.nii.gz"], "label": str(folder / "labelsTr" / "case1.nii.gz")}
    (folder / "dataset.json").write_text(json.dumps(document | {"dataset": {"only": files}}))
    (case,) = read_raw_dataset(folder, model.plans).cases
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
    make_dataset, model, labels, message
):
    with pytest.raises(DatasetError, match=message):
        read_raw_dataset(make_dataset(labels=labels), model.plans)


def test_an_ignore_label_is_taken(make_dataset, model):
    dataset = read_raw_dataset(make_dataset(labels={**LABELS, "ignore": 3}), model.plans)
    assert dataset.ignore_label == 3


def test_a_model_with_regions_is_refused(make_dataset, model):
    with pytest.raises(UnsupportedModelError, match="regions"):
        read_raw_dataset(make_dataset(), replace(model.plans, region_values=(1, 2)))


def test_a_folder_without_dataset_json_is_refused(tmp_path, model):
    with pytest.raises(DatasetError, match="dataset.json cannot be read.*Expected an nnU-Net v2 raw dataset"):
        read_raw_dataset(tmp_path, model.plans)


def test_other_channels_are_refused(make_dataset, model):
    folder = make_dataset()
    document = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(document | {"channel_names": {"0": "T1", "1": "T2"}}))
    with pytest.raises(DatasetError, match=r"expects 1 channel\(s\) \(CT\); found 2 \(T1, T2\)"):
        read_raw_dataset(folder, model.plans)


def test_a_missing_label_file_is_named(make_dataset, model):
    folder = make_dataset()
    (folder / "labelsTr" / "case1.nii.gz").unlink()
    with pytest.raises(DatasetError, match="case1.nii.gz of the case case1 is missing"):
        read_raw_dataset(folder, model.plans)


def test_a_value_that_no_label_has_is_refused(make_dataset, model):
    folder = make_dataset()
    labels = np.zeros((24, 24, 24), np.uint8)
    labels[3] = 7
    nibabel.save(nibabel.Nifti1Image(labels, np.diag([3.0, 3.0, 3.0, 1.0])), folder / "labelsTr" / "case1.nii.gz")
    with pytest.raises(DatasetError, match="case1.nii.gz: expected the labels of dataset.json, 0 to 2; found 7"):
        prepare_dataset(read_raw_dataset(folder, model.plans), model.plans)


def test_labels_off_the_images_grid_are_refused(make_dataset, model):
    folder = make_dataset()
    labels = nibabel.Nifti1Image(np.zeros((24, 24, 24), np.uint8), np.diag([2.0, 3.0, 3.0, 1.0]))
    nibabel.save(labels, folder / "labelsTr" / "case0.nii.gz")
    with pytest.raises(DatasetError, match="case0.nii.gz: expected on the grid of its image"):
        prepare_dataset(read_raw_dataset(folder, model.plans), model.plans)


# Preparation


def test_prepared_files_hold_what_memory_would(make_dataset, model, training_set, tmp_path):
    raw = read_raw_dataset(make_dataset(name="Dataset002_Same"), model.plans)
    events = []
    stored = prepare_dataset(raw, model.plans, tmp_path, events.append)
    for one, other in zip(stored.cases, training_set.cases, strict=True):
        assert isinstance(one.image, np.memmap) and not isinstance(other.image, np.memmap)
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.labels, other.labels)
    assert events[0] == {"event": "stage", "stage": "dataset"}
    assert events[-1] == {"event": "progress", "stage": "dataset", "done": 3, "total": 3}


def test_the_places_of_a_label_hold_that_label(training_set):
    for case in training_set.cases:
        assert list(case.voxels) == [1, 2]
        for value, places in case.voxels.items():
            assert (case.labels[tuple(places.T)] == value).all()


@pytest.mark.parametrize("spacing", [(3.0, 3.0, 3.0), (1.4, 2.2, 2.6), (9.0, 1.5, 1.5)])
@pytest.mark.parametrize("transpose", [(0, 1, 2), (2, 0, 1)])
def test_labels_reach_the_models_grid_as_nnunet_takes_them(make_model_folder, spacing, transpose):
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


def test_labels_of_an_aligned_model_are_of_the_nearest_voxel(model):
    from scipy.ndimage import zoom

    intensities, labels = shapes(2)
    image = image_from_array(intensities, spacing_mm=(2.0, 2.0, 2.0))
    volume = preprocess(image, model.plans, "aligned")
    grid = labels_on_grid(labels, image.array, volume, model.plans, "aligned")
    oriented = volume.label_view(labels)
    np.testing.assert_array_equal(grid, zoom(oriented, 16 / 24, order=0, mode="nearest"))


def test_voxels_outside_a_mask_are_marked(make_model_folder):
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


def test_the_split_holds_some_cases_back_and_depends_on_the_seed(training_set):
    many = TrainingSet(tuple(replace(training_set.cases[0], identifier=str(number)) for number in range(10)))
    training, validation = many.split(0.2, seed=0)
    assert len(training) == 8 and len(validation) == 2
    assert {case.identifier for case in (*training, *validation)} == set(map(str, range(10)))
    again = many.split(0.2, seed=0)[1]
    others = [tuple(case.identifier for case in many.split(0.2, seed)[1]) for seed in range(5)]
    assert tuple(case.identifier for case in again) == others[0] and len(set(others)) > 1
    with pytest.raises(DatasetError, match="at least 2 labeled cases.*found 1"):
        TrainingSet(training_set.cases[:1]).split(0.2, 0)


# Patches


def test_one_patch_of_two_is_centered_on_foreground(training_set):
    cases = training_set.cases
    far = np.zeros((60, 60, 60), np.int16)
    far[50, 50, 50] = 2  # random patches of 16 hardly ever show it
    case = replace(
        cases[0], image=np.zeros((1, *far.shape), np.float32), labels=far, voxels={2: np.array([[50, 50, 50]])}
    )
    sampler = PatchSampler([case], PATCH, 2, seed=0)
    shown = [(sampler.batch(number)[1] == 2).flatten(1).any(dim=1).tolist() for number in range(20)]
    assert all(second for _, second in shown)
    assert sum(first for first, _ in shown) < 5


def test_patches_come_from_their_place_and_pad_with_background(training_set, model):
    case = training_set.cases[0]
    images, labels = PatchSampler([case], (32, 16, 16), 4, seed=1).batch(0)
    assert images.shape == (4, 1, 32, 16, 16) and labels.shape == (4, 1, 32, 16, 16)
    assert labels.dtype == torch.int16 and set(labels.unique().tolist()) <= {0, 1, 2}
    assert torch.equal(images[:, :, :4], torch.zeros(4, 1, 4, 16, 16))  # 24 voxels in the middle of 32
    bright = images > (350 - 20) / 300
    assert torch.equal(bright, labels == 2)


def test_a_batch_depends_on_its_number_and_seed_alone(training_set, model):
    sampler = PatchSampler(training_set.cases, PATCH, 2, 5, Augmentation(model.plans))
    expected = [sampler.batch(1, number) for number in range(6)]
    torch.rand(3), np.random.rand(3)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    for found in (list(batches(lambda n: sampler.batch(1, n), 6, ahead)) for ahead in (False, True)):
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])
    assert torch.equal(torch.get_rng_state(), before[0]) and (np.random.get_state()[1] == before[1]).all()
    assert not torch.equal(expected[0][0], expected[1][0])
    assert not torch.equal(expected[0][0], replace(sampler, seed=6).batch(1, 0)[0])


@pytest.mark.parametrize("patch_shape", [(16, 16, 16), (8, 32, 24)])
def test_augmented_patches_keep_their_shape_and_their_labels(training_set, model, patch_shape):
    plans = replace(model.plans, patch_shape=patch_shape)
    sampler = PatchSampler(training_set.cases, patch_shape, 2, 0, Augmentation(plans))
    changed = 0
    for number in range(12):
        images, labels = sampler.batch(number)
        assert images.shape == labels.shape == (2, 1, *patch_shape)
        assert images.isfinite().all() and set(labels.unique().tolist()) <= {0, 1, 2}
        changed += not torch.equal(images > (350 - 20) / 300, labels == 2)
    assert changed  # an augmentation that does nothing would leave all as they were


def test_the_augmentation_cuts_what_nnunets_trainer_cuts_and_imports_no_trainer(model):
    import subprocess
    import sys

    assert Augmentation(replace(model.plans, patch_shape=(128, 128, 128))).cut_shape == (205, 205, 205)
    code = (
        "import sys\n"
        "import TuckerSegLib.finetuning.training as training\n"
        "from TuckerSegLib.finetuning.augmentation import _cut_shape, _transform\n"
        "_cut_shape((16, 16, 16), False), _transform((16, 16, 16), False, [0])\n"
        "training._loss(training.FineTuningSettings(), None)\n"
        "print([name for name in sys.modules if 'rainer' in name or name in ('timm', 'torchvision')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": LIBRARY})
    assert done.stdout.strip() == "[]", done.stderr


# Training


def test_training_lowers_the_loss_and_raises_the_dice_of_held_back_cases(network, model, training_set):
    events = []
    before = weights(network).clone()
    result = fine_tune(network, model.plans, training_set, QUICK, on_event=events.append)
    record = result.record
    assert record.losses[1] < record.losses[0]
    assert record.dice_after > record.dice_before + 0.2
    assert record.best_epoch > 0 and record.epochs_done == 2
    assert len(record.training_cases) == 2 and len(record.validation_cases) == 1
    assert torch.equal(weights(network), before)  # a copy was trained
    assert not torch.equal(weights(result.network), before)
    assert not any(parameter.requires_grad for parameter in result.network.parameters())
    assert not result.network.training
    progress = [event for event in events if event["event"] == "progress"]
    assert [event["done"] for event in progress] == list(range(1, 51)) and progress[-1]["remaining_s"] == 0
    assert sum(event["event"] == "log" for event in events) == 3


def test_the_kept_weights_have_the_dice_that_the_record_tells(network, model, training_set):
    result = fine_tune(network, model.plans, training_set, replace(QUICK, epochs=1, iterations=10))
    validation = training_set.split(QUICK.validation_fraction, QUICK.seed)[1]
    sampler = PatchSampler(validation, PATCH, QUICK.batch_size, QUICK.seed)
    drawn = map(sampler.batch, range(QUICK.validation_iterations))
    assert mean_patch_dice(result.network, drawn, None) == result.record.dice_after


def test_weights_that_only_get_worse_are_given_back_as_they_were(network, model, training_set):
    good = fine_tune(network, model.plans, training_set, QUICK).network
    result = fine_tune(good, model.plans, training_set, replace(QUICK, epochs=1, iterations=2, learning_rate=0.5))
    assert result.record.best_epoch == 0 and result.record.validation_dice[1] < result.record.validation_dice[0]
    assert torch.equal(weights(result.network), weights(good))


def test_an_interrupted_run_goes_on_to_the_same_result(network, model, training_set, tmp_path):
    settings = replace(QUICK, epochs=3, iterations=6)
    whole = fine_tune(network, model.plans, training_set, settings)
    state_file = tmp_path / "state.tuckerseg"
    seen = []
    with pytest.raises(Cancelled):
        fine_tune(
            network, model.plans, training_set, settings,
            state_file=state_file, on_event=seen.append, cancelled=lambda: seen[-1].get("done") == 9,
        )  # fmt: skip
    assert state_file.is_file()
    later = []
    resumed = fine_tune(network, model.plans, training_set, settings, state_file=state_file, on_event=later.append)
    assert [event["done"] for event in later if event["event"] == "progress"] == list(range(7, 19))
    assert resumed.record == whole.record
    assert torch.equal(weights(resumed.network), weights(whole.network))
    assert [path.name for path in tmp_path.glob("*state*")] == ["state.tuckerseg"]


def test_a_finished_run_can_be_given_more_epochs(network, model, training_set, tmp_path):
    settings, state_file = replace(QUICK, epochs=1, iterations=4), tmp_path / "state.tuckerseg"
    fine_tune(network, model.plans, training_set, settings, state_file=state_file)
    more = replace(settings, epochs=2)
    further = fine_tune(network, model.plans, training_set, more, state_file=state_file)
    assert further.record == fine_tune(network, model.plans, training_set, more).record
    with pytest.raises(ModelFileError, match="epochs: expected up to 1, found 2 done"):
        fine_tune(network, model.plans, training_set, settings, state_file=state_file)


def test_a_state_of_another_run_is_refused(network, model, training_set, tmp_path):
    settings, state_file = replace(QUICK, epochs=1, iterations=1), tmp_path / "state.tuckerseg"
    fine_tune(network, model.plans, training_set, settings, state_file=state_file)
    with pytest.raises(ModelFileError, match="learning_rate: expected 0.5, found 0.003"):
        other = replace(settings, learning_rate=0.5)
        fine_tune(network, model.plans, training_set, other, state_file=state_file)
    with torch.no_grad():
        next(network.parameters()).add_(1)
    with pytest.raises(ModelFileError, match="network: expected the one given now"):
        fine_tune(network, model.plans, training_set, settings, state_file=state_file)
    model.save(state_file)
    with pytest.raises(ModelFileError, match="not the state of a fine-tuning"):
        fine_tune(network, model.plans, training_set, settings, state_file=state_file)


def test_voxels_that_nobody_labeled_teach_nothing(make_dataset, network, model):
    raw = read_raw_dataset(make_dataset(labels={**LABELS, "ignore": 3}), model.plans)
    cases = prepare_dataset(raw, model.plans).cases
    ignoring = TrainingSet(tuple(_with_ignored_half(case) for case in cases), ignore_label=3)
    result = fine_tune(network, model.plans, ignoring, QUICK)
    assert result.record.dice_after > result.record.dice_before + 0.2


def _with_ignored_half(case):
    labels = case.labels.copy()
    labels[:, :, :12] = np.where(labels[:, :, :12] > 0, labels[:, :, :12], 3)
    annotated = np.argwhere(labels != 3)
    return replace(case, labels=labels, annotated=annotated)


def test_held_back_cases_that_show_nothing_are_refused(make_dataset, network, model):
    nothing = prepare_dataset(read_raw_dataset(make_dataset(blank=True), model.plans), model.plans)
    with pytest.raises(DatasetError, match="show none of the model's structures"):
        fine_tune(network, model.plans, nothing, QUICK)


@pytest.mark.parametrize("device", ["tpu", "meta", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(network, model, training_set, device):
    with pytest.raises(BackendError, match=device):
        fine_tune(network, model.plans, training_set, QUICK, device=device)
