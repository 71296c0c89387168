"""Plans and dataset.json that take memory or make no sense: refused by name, and nothing is built."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from Testing.unit.plan_edits import ARCHITECTURE, ARGUMENTS, CONFIGURATION, WRITTEN, edit
from TuckerSegLib.errors import ModelFolderError, TuckerSegError, UnsupportedModelError
from TuckerSegLib.model_zoo.importing import import_model
from TuckerSegLib.models.loading import load_facts, load_model

LIBRARY = Path(__file__).resolve().parents[2]
NAN, INFINITY = float("nan"), float("inf")


@pytest.fixture
def model(make_model_folder, tmp_path_factory, tmp_path) -> Path:
    """A copy of a model that is written once."""
    if not WRITTEN:
        kept = tmp_path_factory.mktemp("written") / "model"
        shutil.copytree(make_model_folder("Dataset002_Once", residual=True), kept)
        WRITTEN.append(kept)
    return Path(shutil.copytree(WRITTEN[0], tmp_path / "Dataset001_Small" / "nnUNetTrainer__nnUNetPlans__3d_fullres"))


MANY = 10**9

BAD_PLANS = [
    ((*ARGUMENTS, "nonlin_kwargs"), {"command": "true"}, "nonlin_kwargs"),
    ((*ARGUMENTS, "nonlin_kwargs"), {"inplace": "yes"}, "inplace"),
    ((*ARGUMENTS, "nonlin_kwargs"), {"negative_slope": NAN}, "negative_slope"),
    ((*ARGUMENTS, "nonlin_kwargs"), [1], "nonlin_kwargs"),
    ((*ARGUMENTS, "norm_op_kwargs"), {"eps": "1e-5"}, "eps"),
    ((*ARGUMENTS, "norm_op_kwargs"), {"device": "cuda"}, "device"),
    ((*ARGUMENTS, "surprise"), 1, "surprise"),
    ((*ARGUMENTS, "features_per_stage"), [8, 16, MANY], "features_per_stage"),
    ((*ARGUMENTS, "features_per_stage"), [8, 16, -1], "features_per_stage"),
    ((*ARGUMENTS, "features_per_stage"), [8, 16], "features_per_stage"),
    ((*ARGUMENTS, "features_per_stage"), "8", "features_per_stage"),
    ((*ARGUMENTS, "features_per_stage"), 8, "features_per_stage"),
    ((*ARGUMENTS, "features_per_stage"), [8.0, 16, 32], "features_per_stage"),
    ((*ARGUMENTS, "kernel_sizes"), [[3, 3, 3.0]] * 3, "kernel_sizes"),
    ((*ARGUMENTS, "n_stages"), MANY, "n_stages"),
    ((*ARGUMENTS, "n_stages"), None, "n_stages"),
    ((*ARGUMENTS, "n_stages"), 3.0, "n_stages"),
    ((*ARGUMENTS, "n_stages"), True, "n_stages"),
    ((*ARGUMENTS, "n_blocks_per_stage"), [1, 1, MANY], "n_blocks_per_stage"),
    ((*ARGUMENTS, "n_blocks_per_stage"), MANY, "n_blocks_per_stage"),
    ((*ARGUMENTS, "n_conv_per_stage_decoder"), [1, MANY], "n_conv_per_stage_decoder"),
    ((*ARGUMENTS, "kernel_sizes"), [[MANY, 3, 3]] * 3, "kernel_sizes"),
    ((*ARGUMENTS, "kernel_sizes"), [[3, 3]] * 3, "kernel_sizes"),
    ((*ARGUMENTS, "strides"), [[1, 1, 1], [2, 2, 2], [MANY, 2, 2]], "strides"),
    ((*ARGUMENTS, "strides"), [[2, 2, 2], [2, 2, 2], [2, 2, 2]], "strides"),
    ((*ARGUMENTS, "strides"), [[1, 1, 1], [2, 2, 2], [0, 2, 2]], "strides"),
    ((*ARGUMENTS, "stem_channels"), MANY, "stem_channels"),
    ((*ARGUMENTS, "conv_bias"), "no", "conv_bias"),
    (ARGUMENTS, [], "arch_kwargs"),
    (ARGUMENTS, None, "arch_kwargs"),
    (ARCHITECTURE, None, "architecture"),
    ((*ARCHITECTURE, "_kw_requires_import"), "conv_op", "_kw_requires_import"),
    (CONFIGURATION, [], "3d_fullres"),
    (("configurations",), None, "configurations"),
    ((*CONFIGURATION, "inherits_from"), "3d_fullres", "not its own parent"),
    ((*CONFIGURATION, "inherits_from"), "nothing", "configuration"),
    ((*CONFIGURATION, "inherits_from"), ["a"], "inherits_from"),
    ((*CONFIGURATION, "patch_size"), [MANY, MANY, MANY], "patch_size"),
    ((*CONFIGURATION, "patch_size"), [1024, 1024, 1024], "patch_size"),
    ((*CONFIGURATION, "patch_size"), [33, 32, 32], "patch_size"),
    ((*CONFIGURATION, "patch_size"), [0, 32, 32], "patch_size"),
    ((*CONFIGURATION, "patch_size"), ["32", 32, 32], "patch_size"),
    ((*CONFIGURATION, "patch_size"), None, "patch_size"),
    ((*CONFIGURATION, "spacing"), [NAN, 3, 3], "spacing"),
    ((*CONFIGURATION, "spacing"), [INFINITY, 3, 3], "spacing"),
    ((*CONFIGURATION, "spacing"), [-3, 3, 3], "spacing"),
    ((*CONFIGURATION, "spacing"), [10**400, 3, 3], "spacing"),
    ((*CONFIGURATION, "spacing"), [0, 3, 3], "spacing"),
    ((*CONFIGURATION, "spacing"), [1e-300, 3, 3], "spacing"),
    ((*CONFIGURATION, "spacing"), [3, 3], "spacing"),
    ((*CONFIGURATION, "spacing"), ["3.0", "3.0", "3.0"], "spacing"),
    ((*CONFIGURATION, "spacing"), {"z": 3}, "spacing"),
    ((*CONFIGURATION, "spacing"), None, "spacing"),
    (("transpose_forward",), [0, 0, 1], "transpose_forward"),
    (("transpose_forward",), [0, 1], "transpose_forward"),
    (("transpose_forward",), [0, 1, 7], "transpose_forward"),
    (("transpose_forward",), "012", "transpose_forward"),
    (("transpose_forward",), None, "transpose_forward"),
    ((*CONFIGURATION, "normalization_schemes"), ["OwnNormalization"], "OwnNormalization"),
    ((*CONFIGURATION, "normalization_schemes"), [["CTNormalization"]], "normalization"),
    ((*CONFIGURATION, "normalization_schemes"), [], "normalization_schemes"),
    ((*CONFIGURATION, "normalization_schemes"), ["NoNormalization"] * 500, "normalization_schemes"),
    ((*CONFIGURATION, "use_mask_for_norm"), [], "use_mask_for_norm"),
    ((*CONFIGURATION, "use_mask_for_norm"), ["no"], "use_mask_for_norm"),
    (("foreground_intensity_properties_per_channel",), [], "foreground_intensity_properties"),
    (("foreground_intensity_properties_per_channel", "0"), None, "foreground_intensity_properties"),
    (("foreground_intensity_properties_per_channel", "0", "mean"), NAN, "mean"),
    (("foreground_intensity_properties_per_channel", "0", "std"), -1, "std"),
    (("foreground_intensity_properties_per_channel", "0", "mean"), "20", "mean"),
    (("image_reader_writer",), "MyReader", "image_reader_writer"),
    (("image_reader_writer",), ["NibabelIO"], "image_reader_writer"),
    (("label_manager",), "MyLabelManager", "label_manager"),
    (("plans_name",), "../../elsewhere", "plans_name"),
    (("dataset_name",), None, "dataset_name"),
    (("dataset_name",), "x" * 1000, "dataset_name"),
    ((*CONFIGURATION, "preprocessor_name"), "MyPreprocessor", "preprocessor_name"),
    ((*CONFIGURATION, "resampling_fn_data"), "my_resampling", "resampling_fn_data"),
    ((*CONFIGURATION, "resampling_fn_seg"), "torch.os.system", "resampling_fn_seg"),
    ((*CONFIGURATION, "resampling_fn_probabilities"), {"a": 1}, "resampling_fn_probabilities"),
    ((*CONFIGURATION, "resampling_fn_data_kwargs"), {"order": "3"}, "order"),
    ((*CONFIGURATION, "resampling_fn_data_kwargs"), {"order": 10**6}, "order"),
    ((*CONFIGURATION, "resampling_fn_data_kwargs"), None, "resampling_fn_data_kwargs"),
    ((*CONFIGURATION, "resampling_fn_data_kwargs"), {"command": 1}, "command"),
    ((*CONFIGURATION, "previous_stage"), "../3d_lowres", "previous_stage"),
]


@pytest.mark.parametrize(("keys", "value", "words"), BAD_PLANS, ids=lambda value: str(value)[-40:])
def test_a_field_of_the_plans_that_makes_no_sense_is_named(model, keys, value, words):
    edit(model, keys, value)
    with pytest.raises((ModelFolderError, UnsupportedModelError)) as caught:
        load_model(model)
    assert words in str(caught.value) and model.name in str(caught.value) and len(str(caught.value)) < 900


def test_numbers_that_are_not_needed_may_be_any(model):
    edit(model, (*CONFIGURATION, "normalization_schemes"), ["ZScoreNormalization"])
    edit(model, ("foreground_intensity_properties_per_channel", "0", "mean"), 10**400)
    assert load_model(model).plans.normalization[0].mean is None


def test_a_whole_number_with_a_fraction_point_is_kept_as_one(model, recwarn):
    """Else the model would not be found in the cache again."""
    edit(model, (*CONFIGURATION, "resampling_fn_data_kwargs"), {"order": 3.0, "order_z": 0.0})
    for _ in range(2):
        assert repr(load_model(model).plans.image_resampling.order) == "3"
    assert not [each for each in recwarn if "cached file" in str(each.message)]


@pytest.mark.parametrize("missing", ["n_stages", "conv_op", "strides", "n_blocks_per_stage"])
def test_an_argument_that_is_missing_is_named(model, missing):
    plans = json.loads((model / "plans.json").read_text())
    del plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"][missing]
    (model / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(ModelFolderError, match=missing):
        load_model(model)


LABELS = ("labels",)

BAD_DATASETS = [
    (LABELS, ["background", "liver"], "labels"),
    (LABELS, None, "labels"),
    (LABELS, {}, "background"),
    (LABELS, {"background": 0}, "structure"),
    (LABELS, {"background": 1, "liver": 0}, "background"),
    (LABELS, {"background": 0, "liver": 10**9}, "liver"),
    (LABELS, {"background": 0, "liver": -1}, "liver"),
    (LABELS, {"background": 0, "liver": 1e30}, "liver"),
    (LABELS, {"background": 0, "liver": NAN}, "liver"),
    (LABELS, {"background": 0, "liver": 1.5}, "liver"),
    (LABELS, {"background": 0, "liver": True}, "liver"),
    (LABELS, {"background": 0, "liver": None}, "liver"),
    (LABELS, {"background": 0, "liver": "one"}, "liver"),
    (LABELS, {"background": 0, "liver": "1" * 5000}, "liver"),
    (LABELS, {"background": 0, "liver": {"value": 1}}, "liver"),
    (LABELS, {"background": 0, "a": 1, "b": 2, "c": 4}, "without a gap"),
    (LABELS, {"background": 0, "a": 2, "b": 3}, "without a gap"),
    (LABELS, {"background": 0, "a": 1, "b": 1}, "once"),
    (LABELS, {"background": 0, "a": 1, "ignore": 5}, "ignore"),
    (LABELS, {"background": 0, "": 1}, "name of a label"),
    (LABELS, {"background": 0, "x" * 1000: 1}, "name of a label"),
    (LABELS, {"background": 0, "liver\nSegment1_ID:=x": 1}, "name of a label"),
    (LABELS, {"background": 0, "\ud800": 1}, "name of a label"),
    (LABELS, {"background": 0, "\x1b[2J": 1}, "name of a label"),
    (LABELS, {"background": 0, "a": [1, 2], "b": 2}, "regions_class_order"),
    (LABELS, {"background": 0, "a": []}, "'a'"),
    (("channel_names",), ["CT"], "channel_names"),
    (("channel_names",), {"1": "CT"}, "channel_names"),
    (("channel_names",), {"zero": "CT"}, "channel_names"),
    (("channel_names",), {"0": 7}, "channel_names"),
    (("channel_names",), {"0": "CT", "1": "MR"}, "channel_names"),
    (("overwrite_image_reader_writer",), "MyReader", "overwrite_image_reader_writer"),
]


@pytest.mark.parametrize(("keys", "value", "words"), BAD_DATASETS, ids=lambda value: ascii(value)[:40])
def test_a_field_of_the_dataset_that_makes_no_sense_is_named(model, keys, value, words):
    edit(model, keys, value, "dataset.json")
    with pytest.raises((ModelFolderError, UnsupportedModelError)) as caught:
        load_model(model)
    assert words in str(caught.value) and len(str(caught.value)) < 900 and str(caught.value).isprintable()


def test_numbers_as_text_are_labels_as_in_nnunet(make_model_folder):
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    labels = {"background": "0", "liver": "1", "spleen": "2"}
    plans = load_facts(make_model_folder(labels=labels)).plans
    assert [(label.value, label.name) for label in plans.labels] == [(1, "liver"), (2, "spleen")]
    assert plans.logit_channels == LabelManager(labels, None).num_segmentation_heads == 3


@pytest.mark.parametrize("name", ["SimpleITKIO", "NibabelIO", "NibabelIOWithReorient", "SimpleITKIOWithReorient", None])
def test_readers_of_nnunet_are_known(model, name):
    edit(model, ("image_reader_writer",), name)
    edit(model, ("overwrite_image_reader_writer",), name or "None", "dataset.json")
    assert load_facts(model).plans.orientation == ("RAS" if name and name.endswith("Reorient") else None)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("plans.json", "[" * 100_000),
        ("plans.json", '{"a":' * 100_000),
        ("dataset.json", "null"),
        ("plans.json", "[]"),
        ("plans.json", ""),
        ("plans.json", '"text"'),
        ("plans.json", b"\xff\xfe\x00"),
        ("plans.json", '{"patch_size": ' + "9" * 10_000 + "}"),
        ("dataset.json", " " * (17 * 2**20)),
    ],
    ids=lambda value: str(value)[:12],
)
def test_a_file_that_is_no_json_object_is_named(model, file, content):
    (model / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    for take in (load_model, lambda path: import_model(path, "hostile")):
        with pytest.raises(ModelFolderError, match=file):
            take(model)


@pytest.mark.parametrize("key", ["UNet_class_name", "n_conv_per_stage_encoder", "UNet_base_num_features"])
@pytest.mark.parametrize("value", [None, "torch.os.system", [1] * 100_000, 10**9])
def test_old_plans_are_checked_as_new_ones(make_model_folder, key, value):
    folder = edit(make_model_folder(old_plans=True), (*CONFIGURATION, key), value)
    with pytest.raises(TuckerSegError, match=key):
        load_model(folder)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits address space as Linux does")
def test_a_network_that_the_checkpoint_does_not_hold_takes_no_memory(model):
    edit(model, (*ARGUMENTS, "features_per_stage"), [8, 8000, 8000])  # 50 GB
    code = (
        "import resource, sys, torch\n"
        "from TuckerSegLib.models.loading import load_model\n"
        "from TuckerSegLib.errors import ModelFolderError\n"
        "import dynamic_network_architectures.architectures.unet\n"
        "held = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (held + 2**30,) * 2)\n"
        "try: load_model(sys.argv[1])\n"
        "except ModelFolderError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(model)], cwd=LIBRARY, capture_output=True, encoding="utf-8")
    assert "do not fit the network in plans.json" in done.stdout, done.stderr
