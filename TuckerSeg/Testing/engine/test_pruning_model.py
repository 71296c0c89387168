"""A model is pruned, alone and before Tucker compression, by every command, and goes through files and exports."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from TuckerSegLib import Cache, compress, load_model
from TuckerSegLib.compression.cost import count
from TuckerSegLib.compression.pruning import Spec, sauron
from TuckerSegLib.errors import SpecError, TuckerSegError
from TuckerSegLib.export import exporter
from TuckerSegLib.export.settings import ExportSettings
from TuckerSegLib.image import read_image
from TuckerSegLib.models.calibration import stored_calibration, volume_id
from TuckerSegLib.models.description import describe
from TuckerSegLib.models.planning import plan_compression
from TuckerSegLib.records.serialization import from_json

SETTINGS = ("--device", "torch:cpu", "--precision", "fp32", "--threads", 1)
HALF = Spec(0.5, multiple=4, minimum=4)
SKIP = "encoder.stages.0.0.convs.0.conv"


@pytest.fixture
def folder(make_model_folder):
    return make_model_folder(patch_shape=(16, 16, 16))


@torch.inference_mode()
def logits(model):
    patch = torch.randn(1, 1, *model.plans.patch_shape, generator=torch.Generator().manual_seed(1))
    return model.network(model.folds[0])(patch)


def counted(model):
    return count(model.structure(), model.plans.patch_shape, 1).total


@pytest.mark.parametrize("residual", [False, True])
def test_a_pruned_model_is_planned_kept_saved_and_told(make_model_folder, tmp_path, residual):
    original = load_model(make_model_folder(residual=residual, patch_shape=(16, 16, 16), folds=("0", "1")))
    smaller = compress(original, HALF, "prune")
    assert smaller.cost == counted(smaller)
    assert smaller.cost.macs < original.cost.macs and smaller.cost.norm_elements < original.cost.norm_elements
    assert describe(smaller).startswith("pruned to 0.50 of the channels, by weights alone, ")
    smaller.save(tmp_path / "small.tuckerseg")
    read = load_model(tmp_path / "small.tuckerseg")
    assert read.recipes == smaller.recipes
    torch.testing.assert_close(logits(read), logits(smaller), atol=0, rtol=0)
    assert compress(original, Spec.at(1.0), "prune") is original


def test_the_numbers_of_channels_that_are_named_are_kept(folder):
    original, spec = load_model(folder), Spec(channels={SKIP: 5})
    plan = plan_compression(original, spec, "prune")
    assert {change.path: change.details["kept"] for change in plan.changes if change.details} == {SKIP: 5}
    smaller = compress(original, spec, "prune")
    assert smaller.cost == plan.cost == counted(smaller)
    assert smaller.network("0").get_submodule(SKIP).out_channels == 5


@pytest.mark.filterwarnings("ignore:The compression goes by the weights")
def test_tucker_follows_calibrated_on_the_pruned_network(run_here, folder, small_ct, tmp_path):
    steps = ("--method", "prune:0.6,tucker:0.5", "--prune-multiple", 4, "--model", folder)
    text = run_here("inspect", *steps)
    assert "of 32 channels" in text and " x " in text
    labels, file = tmp_path / "labels.nii.gz", tmp_path / "both.tuckerseg"
    told = run_here("segment", small_ct, labels, *steps, *SETTINGS)
    assert "pruned to 0.60 of the channels, calibrated" in told and "tucker at rank 0.50, calibrated" in told
    run_here("compress", file, *steps, "--ct", small_ct)
    both, original = load_model(file), load_model(folder)
    pruned, tuckered = both.recipes
    first = stored_calibration(original, Cache())
    between = compress(original, from_json(Spec, pruned.spec), "prune", calibration=first)
    own = stored_calibration(between, Cache())
    assert own.sha256 == tuckered.spec["calibration"] != pruned.spec["calibration"]
    assert own.volumes[-1] == small_ct.name
    assert both.cost == counted(both) and both.cost.macs < between.cost.macs < original.cost.macs


def test_sauron_is_tried_on_the_volume_at_hand_and_names_it(run_here, folder, small_ct, tmp_path, monkeypatch):
    monkeypatch.setattr(sauron, "_THRESHOLDS", np.linspace(0.6, 0.99, 16))  # random weights make maps that differ
    asked = ("--method", "prune:0.5", "--prune-policy", "sauron", "--prune-multiple", 2, "--prune-agreement", 0)
    run_here("compress", tmp_path / "small.tuckerseg", "--model", folder, *asked, "--ct", small_ct)
    smaller = load_model(tmp_path / "small.tuckerseg")
    assert describe(smaller).startswith("pruned to 0.50 of the channels, sauron, ")
    (recipe,) = smaller.recipes
    assert recipe.spec["volumes"][0] == volume_id(read_image(small_ct)) and len(recipe.spec["volumes"]) == 2
    assert "of 32 channels" in run_here("inspect", "--model", folder, *asked)
    assert "GFLOPs per patch" in run_here("plan", small_ct, "--model", folder, *asked, *SETTINGS)
    with pytest.raises(SpecError, match="names the volumes"):
        compress(load_model(folder), replace(Spec(0.5, "sauron"), volumes=("another",)), "prune")


def test_policies_of_pruning_are_explored(run_here, folder, small_ct, tmp_path):
    asked = ("--policies", "sauron", "--factors", 0.5, "--out", tmp_path)
    run_here("explore", small_ct, "--model", folder, *asked, *SETTINGS)
    rows = json.loads((tmp_path / "curve.json").read_text())
    assert [(row["policy"], row["calibrated"]) for row in rows[1:]] == [("sauron", True)]


@pytest.mark.parametrize(("kind", "name"), [("nnunet", ""), ("openvino", "small.xml"), ("onnx", "small.onnx")])
def test_every_export_takes_a_pruned_model(folder, tmp_path, kind, name):
    if kind == "onnx":
        pytest.importorskip("onnx")
    smaller = compress(load_model(folder), HALF, "prune")
    (tmp_path / "out").mkdir()
    written = exporter(kind).export(smaller, tmp_path / "out" / name, ExportSettings())
    if kind == "nnunet":
        again = load_model(written.place)
        assert again.recipes == smaller.recipes
        torch.testing.assert_close(logits(again), logits(smaller))
    else:
        (step,) = json.loads((tmp_path / "out" / "small.json").read_text())["model"]["compression"]
        assert (step["method"], step["keep_ratio"]) == ("prune", 0.5)


@pytest.mark.parametrize("details", [{"kept": 0}, {"kept": 8}, {"kept": -4}, {"kept": 10**9}, {"kept": [4]}, {"x": 1}])
def test_a_file_with_details_that_are_none_is_refused(folder, tmp_path, details):
    smaller = compress(load_model(folder), HALF, "prune")
    file = tmp_path / "hostile.tuckerseg"
    recipe = smaller.recipes[0]
    changes = tuple(replace(each, details=details) if each.path == SKIP else each for each in recipe.changes)
    replace(smaller, recipes=(replace(recipe, changes=changes),)).save(file)
    with pytest.raises(TuckerSegError, match="kept|keep"):
        load_model(file)
