"""Pruning while training, whole: channels go, the model stays valid, and an interruption changes nothing."""

from __future__ import annotations

import csv
import importlib.util
import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from TuckerSegLib import InferenceSpec, compress, image_from_array, load_model, segment
from TuckerSegLib.cli.main import main
from TuckerSegLib.compression.tucker import method as tucker
from TuckerSegLib.errors import Cancelled, ModelFileError, SpecError
from TuckerSegLib.models.description import describe
from TuckerSegLib.models.fresh import fresh_model
from TuckerSegLib.models.model_file import read_model_file
from TuckerSegLib.models.sauron import prune_model_while_training
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.tensor_file import read_tensors, write_tensors
from TuckerSegLib.training.finetuning.dataset import read_raw_dataset
from TuckerSegLib.training.finetuning.settings import FineTuningSettings
from TuckerSegLib.training.pruning import loop
from TuckerSegLib.training.pruning.loop import prune_while_training
from TuckerSegLib.training.pruning.settings import SauronSettings

TRAINING = FineTuningSettings(epochs=3, iterations=4, learning_rate=1e-2, validation_iterations=2, seed=3)
QUICK = SauronSettings(TRAINING, "polynomial", dice_loss=1.0)
OPTIONS = ("--epochs", 2, "--iterations", 2, "--seed", 3, "--dice-loss", 1, "--threads", 1, "--device", "cpu")
LABELS = {"background": 0, "ball": 1, "cube": 2}

pytestmark = pytest.mark.usefixtures("one_thread", "signals_kept")


@pytest.fixture
def greedy():
    """Thresholds are high from the first epoch on: training needs many before they have risen."""
    return replace(QUICK, lowest_threshold=0.7, highest_threshold=0.9)


def test_channels_go_while_the_network_learns(shapes_model, shapes_set, greedy):
    network, events = shapes_model.network("0"), []
    before = [parameter.clone() for parameter in network.parameters()]
    result = prune_while_training(network, shapes_model.plans, shapes_set, greedy, monitor=Monitor(events.append))
    totals = [epoch.total_channels for epoch in result.record.epochs]
    assert totals == sorted(totals, reverse=True) and totals[-1] < 0.9 * totals[0]
    assert all(kept >= 1 for kept in result.record.epochs[-1].channels.values())
    assert all(torch.equal(*pair) for pair in zip(before, network.parameters()))  # a copy was trained
    assert result.network(torch.zeros(1, 1, 16, 16, 16)).shape == (1, 3, 16, 16, 16)
    assert not result.network.training
    progress = [event["done"] for event in events if event["event"] == "progress"]
    assert progress == list(range(1, 13))
    assert "channels" in [event for event in events if event["event"] == "log"][-1]["message"]


def test_a_run_that_ends_within_an_epoch_goes_on_to_the_same_result(
    shapes_model, shapes_set, greedy, monkeypatch, tmp_path
):
    monkeypatch.setattr(loop, "SAVED_EVERY_S", 0.0)
    network, plans = shapes_model.network("0"), shapes_model.plans
    whole = prune_while_training(network, plans, shapes_set, greedy)
    state_file, seen, later = tmp_path / "run.state", [], []
    stopped = Monitor(seen.append, lambda: seen[-1].get("done") == 7)
    with pytest.raises(Cancelled):
        prune_while_training(network, plans, shapes_set, greedy, state_file=state_file, monitor=stopped)
    resumed = prune_while_training(
        network, plans, shapes_set, greedy, state_file=state_file, monitor=Monitor(later.append)
    )
    assert [event["done"] for event in later if event["event"] == "progress"] == [8, 9, 10, 11, 12]
    assert resumed.record == whole.record
    assert whole.record.epochs[1].total_channels < whole.record.epochs[0].total_channels  # moments were cut before
    pairs = zip(resumed.network.state_dict().values(), whole.network.state_dict().values(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


def test_a_round_that_may_cost_nothing_leaves_what_is_needed(shapes_model, shapes_set, greedy):
    network, plans = shapes_model.network("0"), shapes_model.plans
    few = replace(greedy, training=replace(TRAINING, epochs=1), compensate=True)
    free = prune_while_training(network, plans, shapes_set, few).record.epochs[-1]
    dear = prune_while_training(network, plans, shapes_set, replace(few, round_loss=0.0)).record.epochs[-1]
    assert free.total_channels < dear.total_channels
    assert all(free.channels[path] <= kept for path, kept in dear.channels.items())


def test_no_channels_go_and_no_maps_are_drawn_together_while_the_network_settles(
    shapes_model, shapes_set, greedy, monkeypatch
):
    regularized = []
    monkeypatch.setattr(loop, "regularizer", lambda maps: regularized.append(maps) or torch.zeros(()))
    muon = replace(greedy, settling=2, training=replace(TRAINING, optimizer="muon", learning_rate=1e-3))
    record = prune_while_training(shapes_model.network("0"), shapes_model.plans, shapes_set, muon).record
    start, first, *settled = [epoch.channels for epoch in record.epochs]
    assert sum(first.values()) < sum(start.values())
    assert settled == [first, first]
    assert len(regularized) == TRAINING.iterations


def test_smaller_patches_in_bf16_are_what_the_network_gets_and_its_weights_stay_whole(shapes_model, shapes_set):
    training = replace(TRAINING, epochs=1, patch_shape=(8, 16, 8), precision="bf16")
    seen, network = [], shapes_model.network("0")
    first = next(module for module in network.modules() if isinstance(module, torch.nn.Conv3d))
    whole = first.forward

    def watching(image):
        seen.append(tuple(image.shape[2:]))
        output = whole(image)
        seen.append(output.dtype)
        return output

    first.forward = watching  # a copy has it, too
    result = prune_while_training(network, shapes_model.plans, shapes_set, replace(QUICK, training=training))
    assert {(8, 16, 8), torch.bfloat16} <= set(seen) and (16, 16, 16) not in seen
    assert {parameter.dtype for parameter in result.network.parameters()} == {torch.float32}
    with pytest.raises(SpecError, match="patch"):
        odd = replace(QUICK, training=replace(TRAINING, patch_shape=(9, 16, 8)))
        prune_while_training(network, shapes_model.plans, shapes_set, odd)


def test_a_state_whose_record_is_of_other_layers_is_damaged(shapes_model, shapes_set, tmp_path):
    state_file, few = tmp_path / "run.state", replace(QUICK, training=replace(TRAINING, epochs=1, iterations=1))
    run = partial(prune_while_training, shapes_model.network("0"), shapes_model.plans, shapes_set)
    run(few, state_file=state_file)
    tensors, document = read_tensors(state_file)
    document["record"]["epochs"][-1]["risen"].popitem()
    write_tensors(state_file, tensors, document)
    with pytest.raises(ModelFileError, match="of other layers"):
        run(few, state_file=state_file)


def test_the_network_that_is_kept_is_the_one_that_is_told(shapes_model, shapes_set, greedy):
    settings = replace(greedy, dice_loss=0.0, training=replace(TRAINING, learning_rate=1e-7))
    result = prune_while_training(shapes_model.network("0"), shapes_model.plans, shapes_set, settings)
    assert len({epoch.total_channels for epoch in result.record.epochs}) > 2
    kept = result.record.kept
    assert sum(kept.channels.values()) == sum(
        module.out_channels for path, module in result.network.named_modules() if path in kept.channels
    )


def test_models_that_cannot_be_pruned_so_are_refused(shapes_model, make_shapes_dataset, make_model_folder):
    dataset = read_raw_dataset(make_shapes_dataset(), shapes_model.plans)
    compressed = compress(shapes_model, tucker.Spec(rank_ratio=0.5, minimum_rank=2, rank_multiple=1), "tucker")
    with pytest.raises(SpecError, match="is compressed already"):
        prune_model_while_training(compressed, dataset, QUICK)
    with pytest.raises(SpecError, match="2 folds"):
        prune_model_while_training(replace(shapes_model, folds=("0", "1")), dataset, QUICK)


def test_fresh_weights_follow_from_the_seed_and_are_nnunets(shapes_model):
    first, again, other = (fresh_model(shapes_model.plans, seed) for seed in (0, 0, 1))
    assert first.key == again.key != other.key
    assert first.weights.keys() == shapes_model.weights.keys()
    name = next(name for name, weight in first.weights.items() if weight.ndim == 5 and weight[0].numel() > 200)
    weight = first.weights[name]
    assert float(weight.std()) == pytest.approx((2 / (1 + 1e-4) / weight[0].numel()) ** 0.5, rel=0.1)
    assert not first.weights[name.replace("weight", "bias")].any()
    assert (first.recipes, first.folds, first.cost) == ((), ("0",), shapes_model.cost)


@pytest.fixture
def run(capsys):
    """A function that runs ``tuckerseg`` in this process; returns the exit code and what was printed and told."""

    def tuckerseg(*arguments) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return (code, *capsys.readouterr())

    return tuckerseg


def test_the_command_writes_a_model_that_runs_exports_and_is_compressed_further(
    run, make_model_folder, make_shapes_dataset, shapes, nnunet_predictor, tmp_path
):
    folder = make_model_folder(labels=LABELS, patch_shape=(16, 16, 16), mirror_axes=(0, 1, 2))
    raw, output = make_shapes_dataset(), tmp_path / "pruned.tuckerseg"
    ladder = ("--lowest-threshold", 0.7, "--highest-threshold", 0.9)
    command = ("finetune", output, "--dataset", raw, "--model", folder, "--method", "sauron", *ladder, *OPTIONS)
    code, printed, told = run(*command, "--resume", "--from-scratch")
    assert code == 0, told
    assert "channels, validation Dice" in printed and "Epoch 2 of 2" in told
    assert "Kept to go on from" in printed
    model = read_model_file(output)
    prune, trained = model.recipes
    assert (prune.method, trained.method, trained.changes) == ("prune", "finetune", ())
    assert trained.spec["learning_rate"] == 1e-3 and trained.spec["schedule"] == "polynomial"
    assert trained.spec["sauron"]["regularization"] == 0.5
    assert describe(model) == (
        f"pruned, as told, by weights alone, {sum('kept' in change.details for change in prune.changes)} of "
        f"{sum(change.kind.startswith('Conv') for change in prune.changes)} layers; "
        "fine-tuning of 2 epochs on Dataset001_Small"
    )
    assert model.cost.parameters < model.original_cost.parameters and model.plans.mirror_axes == ()
    assert sum(weight.numel() for weight in model.weights.values()) == model.cost.parameters

    if importlib.util.find_spec("matplotlib"):
        assert (tmp_path / "pruned.channels.png").read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader((tmp_path / "pruned.channels.csv").open()))
    assert {row["epoch"] for row in rows} == {"0", "1", "2"}
    first, last = (
        {row["layer"]: int(row["output_channels"]) for row in rows if row["epoch"] == epoch} for epoch in ("0", "2")
    )
    fewer = {path: kept for path, kept in last.items() if kept < first[path]}
    assert {change.path: change.details["kept"] for change in prune.changes if "kept" in change.details} == fewer

    exported = tmp_path / "nnunet"
    assert run("export", output, "--format", "nnunet", "--out", exported)[0] == 0
    (results,) = exported.glob("Dataset*/*")
    patch = torch.rand(1, 1, 16, 16, 16)
    with torch.inference_mode():
        logits = nnunet_predictor(results).network.eval()(patch)
        assert torch.allclose(logits, model.network("0")(patch), atol=1e-4)
    intensities, _ = shapes(7)
    image = image_from_array(intensities, spacing_mm=(3.0, 3.0, 3.0))
    labels = segment(image, model, InferenceSpec(device="torch:cpu", precision="fp32", threads=1)).labels
    assert labels.shape == intensities.shape and np.isin(labels, (0, 1, 2)).all()
    further = compress(model, tucker.Spec(rank_ratio=0.5, minimum_rank=1, rank_multiple=1), "tucker")
    assert [recipe.method for recipe in further.recipes] == ["prune", "finetune", "tucker"]
    assert load_model(output).key == model.key


def test_a_network_is_built_from_the_plans_of_a_dataset(run, make_model_folder, make_shapes_dataset, tmp_path):
    folder = make_model_folder(labels=LABELS, patch_shape=(16, 16, 16))
    plans, output = folder / "plans.json", tmp_path / "new.tuckerseg"
    sauron = ("--dataset", make_shapes_dataset(), "--method", "sauron", *OPTIONS)
    code, _, told = run("finetune", output, "--plans", plans, "--from-scratch", *sauron)
    assert code == 0, told
    assert read_model_file(output).plans.patch_shape == (16, 16, 16)
    code, _, told = run("finetune", output, "--plans", plans, "--from-scratch", "--configuration", "3d", *sauron)
    assert code != 0 and "3d_fullres" in told
    (tmp_path / "broken.json").write_text(json.dumps([1]))
    code, _, told = run("finetune", output, "--plans", tmp_path / "broken.json", "--from-scratch", *sauron)
    assert code != 0 and "expected a JSON object" in told


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--patience", 3), "--patience goes with --method sauron"),
        (("--from-scratch",), "--from-scratch goes with --method sauron"),
        (("--method", "sauron", "--rank", 0.5), "expected no other compression"),
        (("--method", "sauron", "--plans", "plans.json"), "expected --from-scratch beside it"),
        (("--method", "sauron", "--configuration", "2d"), "expected --plans beside it"),
        (("--method", "sauron", "--patience", 1), "at least 2 epochs; found 1"),
        (("--settling", 2), "--settling goes with --method sauron"),
        (("--method", "sauron", "--optimizer", "muon", "--settling", 50), "the 50 of the training should settle"),
    ],
)
def test_options_that_contradict_each_other_are_refused(run, tmp_path, options, words):
    code, _, told = run("finetune", tmp_path / "out.tuckerseg", "--dataset", tmp_path, *options)
    assert code != 0 and words in told
