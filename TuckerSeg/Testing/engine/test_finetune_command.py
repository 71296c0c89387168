"""``tuckerseg finetune`` from a labeled dataset to a file that segments: results, recipe, interruption, bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from TuckerSegLib import InferenceSpec, image_from_array, load_model, read_image, segment
from TuckerSegLib.cache import Cache
from TuckerSegLib.cli.parser import build_parser
from TuckerSegLib.cli.training_settings import training_settings
from TuckerSegLib.evaluation.dice import mean_dice
from TuckerSegLib.models.calibration import stored_calibration, volume_id
from TuckerSegLib.models.description import describe
from TuckerSegLib.models.model_file import read_model_file
from TuckerSegLib.training.finetuning.preparation import held_back
from TuckerSegLib.training.finetuning.settings import FineTuningSettings

LIBRARY = Path(__file__).resolve().parents[2]
LABELS = {"background": 0, "ball": 1, "cube": 2}
QUICK = ("--epochs", 2, "--iterations", 60, "--learning-rate", 1e-2, "--seed", 3)
SMALLER = ("--rank", 0.5, "--minimum-rank", 2, "--policy", "uniform")
QUIET = ("--threads", 1, "--device", "cpu")
PLAIN = InferenceSpec(device="torch:cpu", precision="fp32", threads=1)


@pytest.fixture
def run(outcome_here):
    return outcome_here


@pytest.fixture
def folder(make_model_folder):
    """A model of two folds that mirrors, for the labels of ``shapes``."""
    return make_model_folder(labels=LABELS, patch_shape=(16, 16, 16), folds=("0", "1"), mirror_axes=(0, 1, 2))


def test_the_fine_tuned_file_segments_better_and_says_what_was_done(run, folder, make_shapes_dataset, shapes, tmp_path):
    raw, output, start = make_shapes_dataset(), tmp_path / "tuned.tuckerseg", tmp_path / "start.tuckerseg"
    assert run("compress", start, "--model", folder, *SMALLER)[0] == 0
    code, printed, told = run("finetune", output, "--dataset", raw, "--model", folder, *SMALLER, *QUICK, *QUIET)
    assert code == 0, told
    assert f"Written: {output}" in printed and "fold 1: validation Dice" in printed
    assert "Fold 1, 2 of 2" in told and "Epoch 2 of 2: loss" in told
    before, after = read_model_file(start), read_model_file(output)

    tucker, tuned = after.recipes
    assert tucker == before.recipes[0]
    spec = tuned.spec
    assert (tuned.method, tuned.changes) == ("finetune", ())
    assert (spec["dataset"], len(set(spec["cases"]))) == ("Dataset001_Small", 3)
    assert b"case1" not in output.read_bytes()  # names may be those of patients
    assert (spec["epochs"], spec["iterations"], spec["learning_rate"], spec["seed"]) == (2, 60, 1e-2, 3)
    assert "fine-tuning of 2 epochs on Dataset001_Small" in describe(after)
    assert before.plans.mirror_axes == (0, 1, 2) and after.plans.mirror_axes == ()
    assert (after.cost, after.folds, after.weights.keys()) == (before.cost, before.folds, before.weights.keys())
    assert after.key != before.key
    assert not any(torch.equal(tensor, after.weights[name]) for name, tensor in before.weights.items())

    intensities, truth = shapes(7)  # of no case that it was trained on
    image = image_from_array(intensities, spacing_mm=(3.0, 3.0, 3.0))
    found = [mean_dice(segment(image, model, PLAIN).labels, truth) for model in (before, after)]
    assert found[1] > found[0] + 0.3
    assert sorted(path.name for path in tmp_path.glob("*") if "tune" in path.name) == ["tuned.tuckerseg"]


def test_a_compressed_file_is_trained_on_and_the_recipe_gives_the_same_again(
    run, folder, make_shapes_dataset, tmp_path
):
    raw, start = make_shapes_dataset(), tmp_path / "start.tuckerseg"
    assert run("compress", start, "--model", folder, "--folds", 0, *SMALLER)[0] == 0
    few = ("--epochs", 1, "--iterations", 3, "--learning-rate", 1e-2, *QUIET)
    models = []
    for number in range(2):
        output = tmp_path / f"tuned{number}.tuckerseg"
        assert run("finetune", output, "--dataset", raw, "--model", start, *few)[0] == 0
        models.append(read_model_file(output))
    assert [recipe.method for recipe in models[0].recipes] == ["tucker", "finetune"]
    assert models[0].recipes == models[1].recipes and models[0].key == models[1].key
    code, printed, _ = run("inspect", "--model", tmp_path / "tuned0.tuckerseg", "--json")
    assert code == 0 and any(change["ranks"] for change in json.loads(printed))


def test_other_files_of_the_same_names_give_another_recipe(run, folder, make_shapes_dataset, tmp_path):
    raw, keys, cases = make_shapes_dataset(), [], []
    for number in range(2):
        output = tmp_path / f"{number}.tuckerseg"
        few = ("--epochs", 1, "--iterations", 1, "--learning-rate", 1e-9, "--folds", 0)
        assert run("finetune", output, "--dataset", raw, "--model", folder, *SMALLER, *few, *QUIET)[0] == 0
        keys.append(read_model_file(output).key)
        cases.append(read_model_file(output).recipes[-1].spec["cases"])
        case = raw / "imagesTr" / "case1_0000.nii.gz"
        case.write_bytes((raw / "imagesTr" / "case0_0000.nii.gz").read_bytes())
    assert keys[0] != keys[1]
    assert [before != after for before, after in zip(*cases, strict=True)] == [False, True, False]


def test_an_interrupted_run_stops_cleanly_and_goes_on(folder, make_shapes_dataset, run, tmp_path):
    raw, output, whole = make_shapes_dataset(), tmp_path / "tuned.tuckerseg", tmp_path / "whole.tuckerseg"
    asked = ["--dataset", raw, "--model", folder, "--folds", 0, *SMALLER, *QUIET]
    asked += ["--epochs", 4, "--iterations", 20, "--learning-rate", 1e-2]
    command = [sys.executable, "-m", "TuckerSegLib", "finetune", output, "--resume", *asked]
    state = tmp_path / "tuned.tuckerseg.0.state"
    process = subprocess.Popen(list(map(str, command)), cwd=LIBRARY, stderr=subprocess.PIPE, encoding="utf-8")
    said = []
    for line in process.stderr:
        said.append(line)
        if "Epoch 1 of 4" in line:
            break
    ends_at = time.monotonic() + 600
    written = state.stat().st_mtime_ns
    while state.stat().st_mtime_ns == written and time.monotonic() < ends_at:
        time.sleep(0.01)  # the epoch's state follows the line that tells of it
    process.send_signal(signal.SIGINT)
    said += process.stderr.readlines()
    assert process.wait(60) == 130 and said[-1] == "Stopped.\n", "".join(said)
    assert not output.exists() and state.is_file()
    assert not list(tmp_path.glob("finetune-*"))  # the prepared cases

    code, printed, told = run("finetune", output, "--resume", *asked)
    assert code == 0 and "Epoch 1 of 4" not in told and "Epoch 4 of 4" in told
    assert f"Kept to go on from with more epochs, else to be removed: {state}" in printed
    assert run("finetune", whole, *asked)[0] == 0
    resumed, uninterrupted = read_model_file(output), read_model_file(whole)
    assert resumed.recipes == uninterrupted.recipes
    assert all(torch.equal(tensor, resumed.weights[name]) for name, tensor in uninterrupted.weights.items())

    code, _, told = run("finetune", output, "--resume", *asked, "--seed", 5)
    assert code == 1 and "seed: expected 5, found 0" in told and state.name in told


def test_without_a_better_epoch_the_start_is_kept_and_said(run, folder, make_shapes_dataset, tmp_path):
    raw, output, start = make_shapes_dataset(), tmp_path / "tuned.tuckerseg", tmp_path / "start.tuckerseg"
    good = ("finetune", start, "--dataset", raw, "--model", folder, "--folds", 0, *SMALLER, *QUICK, *QUIET)
    assert run(*good)[0] == 0
    harmful = ("--epochs", 1, "--iterations", 2, "--learning-rate", 0.5, "--seed", 3)
    code, printed, _ = run("finetune", output, "--dataset", raw, "--model", start, *harmful, *QUIET)
    assert code == 0 and "no epoch was better than the start" in printed
    kept, before = read_model_file(output).weights, read_model_file(start).weights
    assert all(torch.equal(tensor, kept[name]) for name, tensor in before.items())


def test_the_defaults_of_the_command_are_the_papers():
    options = build_parser().parse_args(["finetune", "out.tuckerseg", "--dataset", "folder"])
    assert training_settings(options) == FineTuningSettings()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": {"background": 0, "ball": 1, "liver": 2}}, "2: expected 'cube', found 'liver'"),
        ({"cases": 1}, "at least 2 labeled cases"),
        ({"blank": True}, "show none of the model's structures"),
    ],
)
def test_a_dataset_that_does_not_fit_is_refused(run, folder, make_shapes_dataset, tmp_path, change, message):
    output = tmp_path / "tuned.tuckerseg"
    raw = make_shapes_dataset(**change)
    code, _, told = run("finetune", output, "--dataset", raw, "--model", folder, *SMALLER, *QUICK, *QUIET)
    assert code == 1 and message in told
    assert not output.exists() and not list(tmp_path.glob("finetune-*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dataset", "missing"], "dataset.json cannot be read"),
        (["--rank", 1], "there is nothing to fine-tune"),
        (["--epochs", 0], "number of epochs should be at least 1; found 0"),
        (["--device", "tpu"], "auto, cpu, cuda or cuda:N; found 'tpu'"),
    ],
)
def test_what_cannot_be_done_is_refused(run, folder, make_shapes_dataset, tmp_path, options, message):
    asked = ["--dataset", make_shapes_dataset(), "--model", folder, *SMALLER, *QUICK, *QUIET, *options]
    code, _, told = run("finetune", tmp_path / "tuned.tuckerseg", *asked)
    assert code == 1 and message in told


def test_a_file_of_another_kind_is_not_written(run, make_shapes_dataset, folder, tmp_path):
    code, _, told = run("finetune", tmp_path / "tuned.pth", "--dataset", make_shapes_dataset(), "--model", folder)
    assert code == 1 and "ends in .tuckerseg" in told


def test_calibrated_ranks_are_calibrated_on_a_case_that_is_not_held_back(run, folder, make_shapes_dataset, tmp_path):
    raw, output = make_shapes_dataset(), tmp_path / "tuned.tuckerseg"
    seed = next(seed for seed in range(50) if held_back(3, 0.2, seed) == {0})
    few = ("--epochs", 1, "--iterations", 1, "--rank", 0.5, "--minimum-rank", 2, "--folds", 0, "--seed", seed)
    code, _, told = run("finetune", output, "--dataset", raw, "--model", folder, *few, *QUIET)
    assert code == 0, told
    calibration = stored_calibration(load_model(folder, ("0",)), Cache())
    cases = [volume_id(read_image(raw / "imagesTr" / f"case{number}_0000.nii.gz")) for number in range(3)]
    assert [case for case in calibration.volume_ids if case in cases] == cases[1:2]
    assert read_model_file(output).recipes[0].spec["calibration"] == calibration.sha256


KILLED = """
import os, signal, sys
from TuckerSegLib.cli.commands import finetune
from TuckerSegLib.cli.main import main
def killed(model, dataset, settings, place, *_):
    (place.store / "00000_image.npy").write_bytes(b"voxels")
    os.kill(os.getpid(), signal.SIGKILL)
finetune.finetune_model = killed
main(sys.argv[1:])
"""


@pytest.mark.skipif(os.name == "nt", reason="needs a signal that nobody can catch")
def test_prepared_images_of_a_killed_run_are_removed_by_the_next_write(folder, make_shapes_dataset, run, tmp_path):
    raw, output = make_shapes_dataset(), tmp_path / "out" / "tuned.tuckerseg"
    output.parent.mkdir()
    options = ("--model", folder, *SMALLER, "--calibrate", "none")
    command = [sys.executable, "-c", KILLED, "finetune", output, "--dataset", raw, *options, *QUIET]
    done = subprocess.run([str(word) for word in command], cwd=LIBRARY, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (left,) = output.parent.iterdir()
    assert (left / "00000_image.npy").exists() and left.stat().st_mode & 0o077 == 0
    assert run("compress", output, *options)[0] == 0
    assert [path.name for path in output.parent.iterdir()] == ["tuned.tuckerseg"]
