"""2D, low-resolution and other configurations of nnU-Net give the labels of nnunetv2's own ``nnUNetPredictor``."""

from __future__ import annotations

import json
from unittest import mock

import numpy as np
import pytest
import torch

from TuckerSegLib import InferenceSpec, Job, TuckerSpec, compress, load_model, segment
from TuckerSegLib.cache import Cache
from TuckerSegLib.errors import ModelFolderError, SpecError
from TuckerSegLib.export import exporter
from TuckerSegLib.export.settings import ExportSettings
from TuckerSegLib.models.resolved_job import resolve
from TuckerSegLib.models.task import task_of

EXACT = InferenceSpec(precision="fp32")
FLAT = {"configuration_name": "2d", "patch_shape": (1, 32, 48), "spacing": (9.0, 2.0, 2.5)}


@pytest.mark.parametrize(
    "variant",
    [
        FLAT,
        FLAT | {"residual": True, "transpose": (2, 0, 1), "mirror_axes": (0, 1)},
        FLAT | {"old_plans": True, "transpose": (1, 0, 2), "reader": "SimpleITKIO", "mirror_axes": (1,)},
        FLAT | {"folds": ("0", "1"), "spacing": (1.0, 0.9, 7.0), "normalization": "ZScoreNormalization"},
        {"configuration_name": "3d_lowres", "spacing": (5.0, 4.0, 4.5), "patch_shape": (16, 24, 24)},
    ],
    ids=lambda variant: ", ".join(f"{key} {value}" for key, value in variant.items()),
)
def test_a_configuration_gives_the_labels_of_nnunet(
    make_model_folder, oblique_ct, nnunet_predictor, nnunet_labels, assert_equal_labels, variant
):
    folder = make_model_folder(**variant)
    mirroring = "mirror_axes" in variant
    folds = tuple(int(fold) for fold in variant.get("folds", ("0",)))
    expected = nnunet_labels(nnunet_predictor(folder, folds, mirroring), [oblique_ct])
    found = segment(str(oblique_ct), load_model(folder), InferenceSpec(precision="fp32", mirroring=mirroring))
    assert_equal_labels(found.labels, expected)


def test_a_2d_network_is_compressed_and_exported_as_any_other(
    make_model_folder, oblique_ct, nnunet_predictor, nnunet_labels, assert_equal_labels, tmp_path
):
    original = load_model(make_model_folder(**FLAT | {"mirror_axes": (0, 1)}))
    smaller = compress(original, TuckerSpec(rank_ratio=0.5))
    assert smaller.cost.macs < original.cost.macs
    found = segment(str(oblique_ct), smaller, EXACT).labels
    place = exporter("nnunet").export(smaller, tmp_path / "exported", ExportSettings()).place
    assert load_model(place).plans.mirror_axes == (1, 2)
    assert_equal_labels(segment(str(oblique_ct), load_model(place), EXACT).labels, found)
    assert_equal_labels(found, nnunet_labels(nnunet_predictor(place), [oblique_ct]))


REGIONS = {"labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "center": 3}, "region_order": [1, 2, 3]}


@pytest.mark.parametrize(
    "kind", [{"normalization": "ZScoreNormalization"}, REGIONS, {"reader": "SimpleITKIO"}], ids=str
)
def test_an_ensemble_gives_the_labels_of_nnunets_and_its_probabilities_are_read_by_it(
    make_model_folder, oblique_ct, nnunet_predictor, assert_equal_labels, run_here, tmp_path, kind
):
    import nibabel
    from nnunetv2.ensembling.ensemble import merge_files

    stored = nibabel.load(oblique_ct)
    values = np.asarray(stored.dataobj).copy()
    values[:9] = values[:, :, -5:] = 0  # so that nnU-Net cuts the image
    nibabel.save(nibabel.Nifti1Image(values, stored.affine), oblique_ct)
    flat = make_model_folder(**FLAT | kind)
    lowres = make_model_folder(configuration_name="3d_lowres", spacing=(5.0, 4.0, 4.5), seed=1, **kind)
    merged = tmp_path / "merged"

    def merge(arrays):
        reader = predictor.plans_manager.image_reader_writer_class()
        manager = predictor.plans_manager.get_label_manager(predictor.dataset_json)
        merge_files([str(array) for array in arrays], str(merged), ".nii.gz", reader, manager)
        return np.asarray(nibabel.load(f"{merged}.nii.gz").dataobj).T

    arrays = []
    for folder in (flat, lowres):
        predictor, output = nnunet_predictor(folder), tmp_path / f"nnunet_{folder.name}"
        with mock.patch.object(torch, "half", torch.float32):
            predictor.predict_from_files_sequential([[str(oblique_ct)]], [str(output)], True, True)
        arrays.append(f"{output}.npz")
    expected = merge(arrays)
    common = ("--precision", "fp32", "--save-probabilities")
    run_here("segment", oblique_ct, tmp_path / "both.nii.gz", "--model", flat, "--ensemble", lowres, *common)
    found = nibabel.load(tmp_path / "both.nii.gz")
    assert_equal_labels(np.asarray(found.dataobj).T, expected)
    ours = []
    for folder, theirs in zip((flat, lowres), arrays):
        ours.append(tmp_path / folder.name / "case.npz")
        ours[-1].parent.mkdir()
        run_here("segment", oblique_ct, ours[-1].with_suffix(".nii.gz"), "--model", folder, *common)
        difference = np.abs(np.load(ours[-1])["probabilities"] - np.load(theirs)["probabilities"])
        assert difference.max() < 1e-3 and difference.mean() < 1e-6
        assert (ours[-1].parent / "plans.json").is_file() and (ours[-1].parent / "dataset.json").is_file()
    assert_equal_labels(merge(ours), expected)
    assert np.allclose(nibabel.load(f"{merged}.nii.gz").affine, stored.affine, atol=1e-5)


def test_models_of_other_labels_are_no_ensemble(make_model_folder, small_image):
    one, two = (make_model_folder(name, labels={"background": 0, name: 1}) for name in ("Dataset001_A", "Dataset002_B"))
    with pytest.raises(SpecError, match="should have the same labels.*Dataset001_A.*Dataset002_B"):
        task_of(resolve(Job((), model=str(one), ensemble=(str(two),))), Cache())
    with pytest.raises(SpecError, match="found the task total"):
        resolve(Job((), model=str(one), ensemble=("total",)))


LOWRES = {"configuration_name": "3d_lowres", "spacing": (5.0, 4.0, 4.5)}


def with_half_found(folder):
    """A folder whose network finds background in about half of the voxels, as networks that were trained do."""
    file = folder / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=False)
    for name, weight in checkpoint["network_weights"].items():
        if "seg_layers" in name and name.endswith("bias"):
            weight[0] += 0.3
    torch.save(checkpoint, file)
    return folder


@pytest.mark.parametrize(
    "kind",
    [
        {"labels": {"background": 0, "a": 1, "b": 2, "c": 3}},
        REGIONS | {"transpose": (2, 0, 1), "reader": "SimpleITKIO"},
        {"labels": {"background": 0, "a": 1, "b": 2, "c": 3}, "spacing": (7.0, 1.5, 1.5), "patch_shape": (16, 48, 48)},
    ],
    ids=["labels", "regions", "thick"],
)
def test_a_cascade_gives_the_labels_of_nnunet(
    make_model_folder, oblique_ct, nnunet_predictor, assert_equal_labels, run_here, tmp_path, kind
):
    import nibabel

    stored = nibabel.load(oblique_ct)
    values = np.asarray(stored.dataobj).copy()
    values[:9] = values[:, :, -5:] = 0
    nibabel.save(nibabel.Nifti1Image(values, stored.affine), oblique_ct)
    lowres = with_half_found(make_model_folder(**kind | LOWRES))
    second = make_model_folder(configuration_name="3d_cascade_fullres", previous_stage="3d_lowres", seed=1, **kind)

    def predicted(folder, name, before=None):
        with mock.patch.object(torch, "half", torch.float32):
            nnunet_predictor(folder).predict_from_files_sequential(
                [[str(oblique_ct)]], [str(tmp_path / name)], False, True, before and str(before)
            )
        return tmp_path / f"{name}.nii.gz"

    (tmp_path / "first").mkdir()
    first = predicted(lowres, "first/v")  # nnU-Net takes "olume" for the number of a channel
    expected = np.asarray(nibabel.load(predicted(second, "second", first.parent)).dataobj).T
    run_here("segment", oblique_ct, tmp_path / "found.nii.gz", "--model", second, "--precision", "fp32")
    found = np.asarray(nibabel.load(tmp_path / "found.nii.gz").dataobj).T
    assert_equal_labels(found, expected)
    moved = second.rename(tmp_path / "alone")
    with pytest.raises(ModelFolderError, match="second stage of a cascade.*expected its model"):
        task_of(resolve(Job((), model=str(moved))), Cache())
    output = tmp_path / "again.nii.gz"
    run_here("segment", oblique_ct, output, "--model", moved, "--previous-stage", lowres, "--precision", "fp32")
    assert np.array_equal(np.asarray(nibabel.load(output).dataobj).T, found)


def test_a_cascade_is_compressed_as_any_other_and_an_ensemble_may_hold_one(
    make_model_folder, small_ct, run_here, tmp_path
):
    labels = {"labels": {"background": 0, "a": 1, "b": 2}}
    lowres = make_model_folder(**LOWRES | labels)
    second = make_model_folder(configuration_name="3d_cascade_fullres", previous_stage="3d_lowres", seed=1, **labels)
    options = ("--model", second, "--ensemble", lowres, "--rank", "0.5", "--stats", tmp_path / "stats.json")
    run_here("segment", small_ct, tmp_path / "out.nii.gz", *options)
    parts = json.loads((tmp_path / "stats.json").read_text())["parts"]
    names = [part["name"].split()[-1] for part in parts]
    assert names == ["3d_lowres", "3d_cascade_fullres", "3d_lowres"]
    assert all(part["macs_per_patch"] < part["original_macs_per_patch"] for part in parts)
    with pytest.raises(SpecError, match="is no cascade"):
        task_of(resolve(Job((), model=str(lowres), previous_stage=str(second))), Cache())
