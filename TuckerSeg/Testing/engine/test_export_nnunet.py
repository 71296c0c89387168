"""A compressed model as an ordinary nnU-Net results folder: nnU-Net runs it, and so do we."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from TuckerSegLib import InferenceSpec, TuckerSpec, compress, image_from_array, load_model, segment
from TuckerSegLib.compressed_network import CompressedUNet
from TuckerSegLib.export import exporter
from TuckerSegLib.export.settings import ExportSettings
from TuckerSegLib.models.distillation import repair_model
from TuckerSegLib.models.model_file import read_model_file
from TuckerSegLib.records.compression import CompressionRecipe
from TuckerSegLib.training.distillation.settings import RepairSettings

LIBRARY_FOLDER = Path(__file__).resolve().parents[2]
EXACT = InferenceSpec(precision="fp32")
HALF = TuckerSpec(rank_ratio=0.5)
REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "center": 3}


def exported(model, path, **settings):
    """The folder that an export has written."""
    return exporter("nnunet").export(model, path, ExportSettings(**settings)).place


def patch_of(model):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(1, model.plans.input_channels, *model.plans.patch_shape, generator=generator)


@torch.inference_mode()
def logits(network, patch):
    return network.eval()(patch)


@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"residual": True},
        {"old_plans": True},
        {"residual": True, "old_plans": True},
        {"mirror_axes": (0, 2)},
        {"folds": ("0", "1")},
        {"labels": REGIONS, "region_order": [1, 2, 3]},
        {"transpose": (2, 0, 1), "spacing": (2.0, 3.0, 2.5), "reader": "SimpleITKIO"},
    ],
    ids=lambda variant: ", ".join(variant) or "plain",
)
def test_nnunet_gives_our_labels(
    make_model_folder, oblique_ct, nnunet_predictor, nnunet_labels, assert_equal_labels, tmp_path, variant
):
    mirroring = "mirror_axes" in variant
    model = compress(load_model(make_model_folder(**variant)), HALF)
    folder = exported(model, tmp_path / "results")
    predictor = nnunet_predictor(folder, tuple(map(int, model.folds)), mirroring)
    assert type(predictor.network) is CompressedUNet
    exported_labels = segment(str(oblique_ct), model, InferenceSpec(precision="fp32", mirroring=mirroring)).labels
    assert_equal_labels(exported_labels, nnunet_labels(predictor, [oblique_ct]))


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(
    "spec",
    [None, TuckerSpec.paper(0.3), TuckerSpec(0.6, rank_mode="auto", rank_multiple=4), TuckerSpec(0.5, sweeps=2)],
    ids=["original", "paper", "auto", "uniform"],
)
def test_the_network_that_nnunet_builds_gives_our_logits_bit_for_bit(
    make_model_folder, nnunet_predictor, tmp_path, residual, spec
):
    model = load_model(make_model_folder(residual=residual))
    if spec is not None:
        model = compress(model, spec)
        assert model.cost.parameters < model.original_cost.parameters
    predictor = nnunet_predictor(exported(model, tmp_path / "results"))
    assert torch.equal(logits(predictor.network, patch_of(model)), logits(model.network("0"), patch_of(model)))


def test_several_folds_have_weights_of_their_own(make_model_folder, nnunet_predictor, tmp_path):
    model = compress(load_model(make_model_folder(folds=("0", "1"))), HALF)
    predictor = nnunet_predictor(exported(model, tmp_path / "results"), (0, 1))
    outputs = []
    for fold, weights in zip(model.folds, predictor.list_of_parameters, strict=True):
        predictor.network.load_state_dict(weights)
        outputs.append(logits(predictor.network, patch_of(model)))
        assert torch.equal(outputs[-1], logits(model.network(fold), patch_of(model)))
    assert not torch.equal(*outputs)


def test_a_repaired_model_keeps_its_repair(make_model_folder, nnunet_predictor, tmp_path):
    original = load_model(make_model_folder())
    smaller = compress(original, HALF)
    ct = image_from_array(np.random.default_rng(0).normal(0, 300, (36, 36, 36)).astype(np.int16), spacing_mm=(3, 3, 3))
    model, _ = repair_model(smaller, original, [ct], RepairSettings(steps=2, check_every=2, voxels=500), threads=1)
    folder = exported(model, tmp_path / "results")
    written = logits(nnunet_predictor(folder).network, patch_of(model))
    assert torch.equal(written, logits(model.network("0"), patch_of(model)))
    assert not torch.equal(written, logits(smaller.network("0"), patch_of(model)))
    assert [recipe.method for recipe in load_model(folder).recipes] == ["tucker", "repair"]


@pytest.mark.parametrize(
    "variant",
    [{"old_plans": True}, {"residual": True}, {"labels": REGIONS, "region_order": [1, 2, 3], "folds": ("0", "1")}],
    ids=lambda variant: ", ".join(variant) or "plain",
)
@pytest.mark.parametrize("spec", [HALF, TuckerSpec.paper(0.3)], ids=["uniform", "paper"])
def test_the_folder_is_a_model_of_ours_again(make_model_folder, tmp_path, variant, spec):
    model = compress(load_model(make_model_folder(**variant)), spec)
    folder = exported(model, tmp_path / "results")
    read = load_model(folder)
    assert read.recipes == model.recipes
    assert replace(read.plans, documents=None) == replace(model.plans, documents=None)
    assert (read.cost, read.original_cost) == (model.cost, model.original_cost)
    assert (read.folds, read.head_path) == (model.folds, model.head_path)
    assert read.weights.keys() == model.weights.keys()
    assert all(torch.equal(value, model.weights[name]) for name, value in read.weights.items())
    assert read.key != model.key, "other files may have other weights"
    again = exported(read, tmp_path / "again")
    assert (again / "plans.json").read_text() == (folder / "plans.json").read_text()
    assert load_model(folder).recipes == model.recipes, "from the cache"


def test_the_folder_segments_as_the_model_does(make_model_folder, oblique_ct, tmp_path):
    model = compress(load_model(make_model_folder()), HALF)
    found = segment(str(oblique_ct), load_model(exported(model, tmp_path / "results").parent), EXACT)
    np.testing.assert_array_equal(found.labels, segment(str(oblique_ct), model, EXACT).labels)


def test_a_tuckerseg_file_needs_no_original_folder(make_model_folder, nnunet_predictor, tmp_path):
    source = make_model_folder(labels=REGIONS, region_order=[1, 2, 3])
    compress(load_model(source), HALF).save(tmp_path / "small.tuckerseg")
    dataset = json.loads((source / "dataset.json").read_text())
    shutil.rmtree(source)
    model = load_model(tmp_path / "small.tuckerseg")
    folder = exported(model, tmp_path / "results")
    assert json.loads((folder / "dataset.json").read_text()) == dataset
    found = logits(nnunet_predictor(folder).network, patch_of(model))
    assert torch.equal(found, logits(model.network("0"), patch_of(model)))


def test_what_the_cache_held_before_is_exported_too(make_model_folder, own_cache, tmp_path):
    """Its files do not hold nnU-Net's documents."""
    folder = make_model_folder()
    compress(load_model(folder), HALF)
    for file in own_cache.rglob("models/*"):
        if file.is_file() and file.suffix == ".tuckerseg":
            kept = read_model_file(file)
            replace(kept, plans=replace(kept.plans, documents=None)).save(file)
    assert exported(compress(load_model(folder), HALF), tmp_path / "results").is_dir()


def test_the_plans_are_the_originals_but_for_the_network(make_model_folder, tmp_path):
    source = make_model_folder()
    plans = json.loads((source / "plans.json").read_text())
    plans["configurations"]["parent"] = plans["configurations"].pop("3d_fullres")
    plans["configurations"]["3d_fullres"] = {"inherits_from": "parent", "batch_size": 5}
    (source / "plans.json").write_text(json.dumps(plans))
    dataset = json.loads((source / "dataset.json").read_text())
    (source / "dataset.json").write_text(json.dumps({**dataset, "dataset": {"Jane Doe": {"images": ["doe.nii"]}}}))
    model = compress(load_model(source), HALF)
    folder = exported(model, tmp_path / "results")
    assert "Doe" not in (folder / "dataset.json").read_text()
    found = json.loads((folder / "plans.json").read_text())
    configuration = found["configurations"].pop("3d_fullres")
    assert found == {**plans, "configurations": {}}
    architecture = configuration.pop("architecture")
    original = plans["configurations"]["parent"].pop("architecture")
    assert configuration == {**plans["configurations"]["parent"], "batch_size": 5}
    kwargs = architecture["arch_kwargs"]
    assert {key: kwargs[key] for key in original["arch_kwargs"]} == original["arch_kwargs"]
    assert kwargs["network_class"] == original["network_class_name"]


def test_a_fine_tuned_model_is_exported_without_the_names_of_its_cases(make_model_folder, nnunet_predictor, tmp_path):
    smaller = compress(load_model(make_model_folder(mirror_axes=(0,))), HALF)
    tuned = CompressionRecipe("finetune", {"epochs": 1, "dataset": "Dataset001_Small", "cases": {"Jane Doe": "0"}}, ())
    model = replace(smaller, recipes=(*smaller.recipes, tuned), plans=replace(smaller.plans, mirror_axes=()))
    folder = exported(model, tmp_path / "results")
    assert "Doe" not in (folder / "plans.json").read_text()
    assert load_model(folder).recipes[-1].spec == {"epochs": 1, "dataset": "Dataset001_Small"}
    assert nnunet_predictor(folder).allowed_mirroring_axes is None


def test_the_checkpoint_is_small_and_safe(make_model_folder, tmp_path):
    model = compress(load_model(make_model_folder(mirror_axes=(0, 1))), HALF)
    file = exported(model, tmp_path / "results") / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=True)
    assert checkpoint["inference_allowed_mirroring_axes"] == (0, 1)
    assert checkpoint["trainer_name"] == "nnUNetTrainer"
    assert file.stat().st_size < 1.2 * model.weight_bytes + 60_000  # names and zip entries; aliases are stored once


def test_nnunets_trainer_finds_what_it_wants(make_model_folder, tmp_path):
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    model = compress(load_model(make_model_folder()), HALF)
    manager = PlansManager(str(exported(model, tmp_path / "results") / "plans.json"))
    configuration = manager.get_configuration("3d_fullres")
    assert len(configuration.pool_op_kernel_sizes) == 3
    build = nnUNetTrainer.build_network_architecture
    network = build(manager, configuration, 1, model.plans.logit_channels, enable_deep_supervision=True)
    assert [len(output.shape) for output in network(patch_of(model))] == [5, 5]
    assert all(parameter.isfinite().all() for parameter in network.parameters()), "all weights are initialized"
    network.decoder.deep_supervision = False
    assert network(patch_of(model)).shape[1] == model.plans.logit_channels
    missing = network.load_state_dict(model.network("0").state_dict(), strict=False).missing_keys
    assert missing
    assert all(".seg_layers.0." in name for name in missing)


def test_nnunets_command_runs_it(make_model_folder, oblique_ct, assert_equal_labels, tmp_path):
    model = compress(load_model(make_model_folder("Dataset123_Small")), HALF)
    exported(model, tmp_path / "results")
    images = tmp_path / "images"
    images.mkdir()
    shutil.copy(oblique_ct, images / "case_0000.nii.gz")
    environment = {**os.environ, "PYTHONPATH": str(LIBRARY_FOLDER), "nnUNet_results": str(tmp_path / "results")}
    code = "from nnunetv2.inference.predict_from_raw_data import predict_entry_point; predict_entry_point()"
    options = ["-d", "Dataset123_Small", "-c", "3d_fullres", "-f", "0", "-device", "cpu", "--disable_tta"]
    processes = ["-npp", "0", "-nps", "0"]  # all in this one
    places = ["-i", str(images), "-o", str(tmp_path / "labels")]
    # The command itself needs no more than this; -c keeps the test independent of where scripts are installed.
    done = subprocess.run(
        [sys.executable, "-c", code, *places, *options, *processes],
        env=environment,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = np.asarray(nibabel.load(tmp_path / "labels" / "case.nii.gz").dataobj).T
    # In half precision, as nnU-Net sums logits
    assert_equal_labels(segment(str(oblique_ct), model, EXACT).labels, found, share=0.995)
