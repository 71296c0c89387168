"""A model whose choice of tokens has learned: by its original, or by labels."""

from __future__ import annotations

import pytest
import torch

from TuckerSegLib import InferenceSpec, TuckerSpec, compress, compression, load_model, read_image, segment
from TuckerSegLib.models.description import describe
from TuckerSegLib.models.distillation import planned_repair, repair_model
from TuckerSegLib.models.training_form import for_training
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.training.distillation.repair_run import RepairRun
from TuckerSegLib.training.distillation.settings import RepairSettings
from TuckerSegLib.training.distillation.split_network import SplitNetwork

PLAIN = InferenceSpec(device="torch:cpu", precision="fp32", threads=1)
HALF = compression.method("tokens").Spec(0.5, agreement=0)
SETTINGS = RepairSettings(steps=4, check_every=2, voxels=500, learning_rate=1e-2)
LABELS = {"background": 0, "ball": 1, "cube": 2}
QUIET = ("--threads", 1, "--device", "cpu")


@pytest.fixture
def original(make_model_folder):
    return load_model(make_model_folder(transformer="Primus", patch_shape=(16, 16, 16), labels=LABELS))


@torch.inference_mode()
def logits_of(model) -> torch.Tensor:
    return model.network("0")(torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(1)))


def learning(model) -> set[str]:
    return {name for name in model.weights if ".passage." in name}


def test_a_repair_teaches_what_chooses_and_completes_and_nothing_else(original, small_ct, tmp_path):
    smaller = compress(original, HALF, "tokens")
    assert not learning(smaller)
    model, records = repair_model(smaller, original, [read_image(small_ct)], SETTINGS, threads=1)
    assert records["0"].steps_done == 4
    start = for_training(smaller)
    assert learning(model) == learning(start) != set()
    assert torch.allclose(logits_of(start), logits_of(smaller), atol=1e-5)
    assert all(torch.equal(model.weights[name], each) for name, each in smaller.weights.items())
    assert model.recipes == planned_repair(smaller, original, [read_image(small_ct)], SETTINGS).recipes
    assert smaller.cost.parameters < model.cost.parameters
    assert [recipe.method for recipe in model.recipes] == ["tokens", "repair"] and model.recipes[0].spec["learned"]
    model.save(tmp_path / "learned.tuckerseg")
    saved = load_model(tmp_path / "learned.tuckerseg")
    assert torch.allclose(logits_of(saved), logits_of(model), atol=1e-5)
    assert for_training(saved) is saved


def test_in_a_repair_the_choice_learns_through_what_it_draws(original):
    smaller = compress(original, HALF, "tokens")
    settings = RepairSettings(steps=6, check_every=6, voxels=500, learning_rate=1e-2, averaging=0.0)
    run = RepairRun(
        *(SplitNetwork(model.network("0")) for model in (for_training(smaller), original)),
        lambda generator: torch.randn(1, 1, 16, 16, 16, generator=generator),
        [torch.zeros(1, 1, 16, 16, 16)],
        settings,
        "cpu",
        False,
        True,
    )
    run.begin(None, Monitor())
    before = {name: each.clone() for name, each in run._network.named_parameters()}
    for step in range(6):
        run.step(step)
    changed = {name for name, each in run._network.named_parameters() if not torch.equal(each, before[name])}
    assert changed and all(".passage." in name for name in changed)
    assert {"scorers", "assembly"} <= {name.split(".")[2] for name in changed}
    assert not any(module.training for module in run._network.modules())


def test_where_more_was_compressed_all_of_it_learns(original, small_ct):
    smaller = compress(compress(original, HALF, "tokens"), TuckerSpec.paper(0.5))
    assert [recipe.method for recipe in for_training(smaller).recipes] == ["tokens", "tucker"]
    settings = RepairSettings(steps=2, check_every=1, voxels=500, learning_rate=1e-2, averaging=0.0)
    model, records = repair_model(smaller, original, [read_image(small_ct)], settings, threads=1)
    assert records["0"].steps_done == 2
    assert logits_of(model).isfinite().all()


def test_labels_teach_it_by_the_schedule_of_transformers(original, make_shapes_dataset, run_here, tmp_path):
    output = tmp_path / "tuned.tuckerseg"
    original.save(tmp_path / "original.tuckerseg")
    options = ("--method", "tokens:0.5", "--token-agreement", 0, "--epochs", 2, "--iterations", 6, "--warm-up", 1)
    options += ("--learning-rate", 3e-3, "--validation-iterations", 2)
    printed = run_here(
        "finetune",
        output,
        "--dataset",
        make_shapes_dataset(),
        "--model",
        tmp_path / "original.tuckerseg",
        *options,
        *QUIET,
    )
    assert "validation Dice" in printed
    tuned = load_model(output)
    tokens, training = tuned.recipes
    assert tokens.spec["learned"] is True
    assert {name: training.spec[name] for name in ("layer_decay", "weight_decay", "drop_path", "second_beta")} == {
        "layer_decay": 0.75, "weight_decay": 0.05, "drop_path": 0.1, "second_beta": 0.95
    }  # fmt: skip
    assert (training.spec["schedule"], training.spec["warm_up"]) == ("cosine", 1)
    assert learning(tuned)
    assert "by what was learned" in describe(tuned)
    segment(read_image(tmp_path / "raw/Dataset001_Small/imagesTr/case0_0000.nii.gz"), tuned, PLAIN)
