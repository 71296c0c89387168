"""Plans that resample by torch, as those of nnU-Net's planners with ``torchres`` in their name."""

from __future__ import annotations

import json

import numpy as np
import pytest

from TuckerSegLib import InferenceSpec, load_model, segment
from TuckerSegLib.errors import ModelFileError, UnsupportedModelError
from TuckerSegLib.nnunet.plans import ModelPlans, ResamplingPlan
from TuckerSegLib.preprocessing.preprocess import _resampling
from TuckerSegLib.records.serialization import from_json, to_json
from TuckerSegLib.resampling import resample

FUNCTION = "resample_torch_fornnunet"
KINDS = ("data", "seg", "probabilities")


@pytest.fixture
def make_torch_folder(make_model_folder):
    """A function that writes a model folder whose plans resample by one of torch's functions."""

    def make(function=FUNCTION, arguments=None, **settings):
        folder = make_model_folder(**settings)
        plans = json.loads((folder / "plans.json").read_text())
        for kind in KINDS:
            common = {"is_seg": kind == "seg", "memefficient_seg_resampling": False}
            plans["configurations"]["3d_fullres"] |= {
                f"resampling_fn_{kind}": function,
                f"resampling_fn_{kind}_kwargs": common | (arguments or {}),
            }
        (folder / "plans.json").write_text(json.dumps(plans))
        return folder

    return make


@pytest.mark.parametrize("mode", ["nearest-exact", "linear"])
@pytest.mark.parametrize("force", [None, True, False])
@pytest.mark.parametrize("shape", [(49, 30, 17), (2, 20, 61), (7, 9, 8), (30, 20, 5)])
def test_a_volume_is_resampled_as_by_nnunets_own_function(shape, force, mode):
    from nnunetv2.preprocessing.resampling.resample_torch import resample_torch_fornnunet

    volume = np.random.default_rng(1).normal(size=(2, 2, 17, 30)).astype(np.float32) * 500
    spacings = (10.0, 2.0, 2.0), (3.0, 1.5, 2.5)
    settings = {"force_separate_z": force, "aniso_axis_mode": mode}
    expected = resample_torch_fornnunet(volume, shape, *spacings, **settings)
    plan = ResamplingPlan(1, {"nearest-exact": 0, "linear": 1}[mode], force, by_torch=True)
    resampled = resample(volume, shape, _resampling(plan, "nnunet", *spacings))
    assert np.abs(resampled.numpy() - expected).max() < 0.01


@pytest.mark.parametrize(
    "variant",
    [
        {"arguments": {"force_separate_z": False}},
        {"spacing": (7.0, 1.5, 1.5), "patch_shape": (16, 48, 48)},
        {"function": "resample_torch_simple", "arguments": {}},
    ],
    ids=["as planned", "separate axis", "simple"],
)
def test_plans_that_resample_by_torch_give_the_labels_of_nnunet(
    make_torch_folder, oblique_ct, nnunet_predictor, nnunet_labels, assert_equal_labels, variant
):
    folder = make_torch_folder(**variant)
    if variant.get("function") == "resample_torch_simple":  # which nnU-Net's own pipeline cannot call: it is 3 volumes
        other = make_torch_folder(name="Dataset002_Other", arguments={"force_separate_z": False})
        expected = nnunet_labels(nnunet_predictor(other), [oblique_ct])
    else:
        expected = nnunet_labels(nnunet_predictor(folder), [oblique_ct])
    labels = segment(str(oblique_ct), load_model(folder), InferenceSpec(precision="fp32")).labels
    assert_equal_labels(labels, expected)


def test_torch_and_splines_are_told_apart_in_files_and_keys(make_torch_folder, make_model_folder, tmp_path):
    model = load_model(make_torch_folder(arguments={"force_separate_z": False}))
    model.save(tmp_path / "model.tuckerseg")
    assert load_model(tmp_path / "model.tuckerseg").plans.image_resampling == ResamplingPlan(1, 0, False, True)
    document = to_json(model.plans)
    assert from_json(ModelPlans, document) == model.plans
    usual = load_model(make_model_folder("Dataset002_Usual")).plans
    assert "by_torch" not in to_json(usual)["image_resampling"]  # keys of models that were made before stay
    document["image_resampling"]["by_torch"] = "yes"
    with pytest.raises(ModelFileError, match="by_torch"):
        from_json(ModelPlans, document)


@pytest.mark.parametrize(
    ("function", "arguments", "words"),
    [
        ("my_resampling", {}, "resampling_fn_data is 'my_resampling'; known: .*resample_torch_fornnunet"),
        ("no_resampling_data_or_seg_to_shape", {}, "no_resampling_data_or_seg_to_shape"),
        (FUNCTION, {"mode": "bicubic"}, "mode is 'bicubic'"),
        (FUNCTION, {"aniso_axis_mode": "area"}, "aniso_axis_mode is 'area'"),
        (FUNCTION, {"order": 3}, "'order' is unknown"),
    ],
)
def test_another_resampling_is_refused_by_its_name(make_torch_folder, function, arguments, words):
    with pytest.raises(UnsupportedModelError, match=words):
        load_model(make_torch_folder(function, arguments))


@pytest.mark.parametrize(
    ("file", "place", "name"),
    [
        ("plans.json", ("configurations", "3d_fullres", "preprocessor_name"), "MyPreprocessor"),
        ("plans.json", ("image_reader_writer",), "NaturalImage2DIO"),
        ("dataset.json", ("overwrite_image_reader_writer",), "MyReader"),
        ("plans.json", ("label_manager",), "MyLabelManager"),
    ],
)
def test_what_would_read_or_prepare_otherwise_is_refused_by_its_name(make_model_folder, file, place, name):
    folder = make_model_folder()
    document = json.loads((folder / file).read_text())
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = name
    (folder / file).write_text(json.dumps(document))
    with pytest.raises(UnsupportedModelError, match=f"{place[-1]} is '{name}'; known: "):
        load_model(folder)
