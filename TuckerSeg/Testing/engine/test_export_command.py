"""``tuckerseg export`` as a user meets it."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

import pytest
import torch

from TuckerSegLib import TuckerSpec, compress, load_model, load_task
from TuckerSegLib.cli.parser import build_parser
from TuckerSegLib.errors import ModelFolderError, OutputError, SpecError
from TuckerSegLib.monitor import Monitor

FOLDER = Path("Dataset001_Small") / "nnUNetTrainer__nnUNetPlans__3d_fullres"


def run(*arguments):
    """The command in this process, as ``cli.main`` starts it."""
    options = build_parser().parse_args(["export", *map(str, arguments)])
    options.monitor = Monitor()
    getattr(importlib.import_module(f"TuckerSegLib.cli.commands.{options.command}"), options.command)(options)


def test_the_command_compresses_and_exports(make_model_folder, tmp_path, capsys):
    options = ["--policy", "uniform", "--rank", "0.5"]
    run(make_model_folder(), "--format", "nnunet", "--out", tmp_path / "results", *options)
    said = capsys.readouterr().out
    model = load_model(tmp_path / "results")
    assert model.recipes[0].spec["rank_ratio"] == 0.5
    assert f"-> {model.cost.parameters / 1e6:.3f} million parameters" in said
    assert "Tried on one patch: logits differ by at most 0.0e+00" in said
    assert str(tmp_path / "results" / FOLDER / "plans.json") in said


@pytest.mark.parametrize(("form", "name"), [("onnx", "network.onnx"), ("openvino", "network.xml")])
def test_network_files_come_with_their_sidecar(make_model_folder, tmp_path, capsys, form, name):
    archive = shutil.make_archive(str(tmp_path / "model"), "zip", make_model_folder())
    run(archive, "--format", form, "--out", tmp_path / name, "--rank", "0.5", "--policy", "uniform")
    written = {line.split(" (")[0].removeprefix("Written: ") for line in capsys.readouterr().out.splitlines()[1:-1]}
    files = {str(file) for file in tmp_path.glob("network.*")}
    assert files == written
    assert str(tmp_path / "network.json") in files


def test_without_a_rank_the_original_is_exported(make_model_folder, tmp_path):
    source = make_model_folder()
    run(source, "--format", "nnunet", "--out", tmp_path / "results")
    assert load_model(tmp_path / "results").recipes == ()


def test_chosen_folds_are_exported(make_model_folder, tmp_path):
    run(make_model_folder(folds=("0", "1")), "--format", "nnunet", "--out", tmp_path / "results", "--folds", "1")
    assert [folder.name for folder in (tmp_path / "results" / FOLDER).glob("fold_*")] == ["fold_1"]


def test_a_model_does_not_take_its_own_place(make_model_folder, tmp_path):
    source = make_model_folder()
    kept = (source / "plans.json").read_text()
    for model in (source, source.parent):
        with pytest.raises(OutputError, match="is the model itself"):
            run(model, "--format", "nnunet", "--out", tmp_path, "--overwrite")
    assert (source / "plans.json").read_text() == kept
    run(source, "--format", "nnunet", "--out", tmp_path, "--trainer-folder", "nnUNetTrainer__Small__3d_fullres")


def test_every_network_of_a_task_is_exported_for_those_who_run_the_task(installed_total, tmp_path, monkeypatch):
    spec = TuckerSpec(rank_ratio=0.5)
    expected = [compress(part.load(), spec) for part in load_task("total").parts]
    with pytest.raises(OutputError, match="is the model itself"):
        run("total", "--format", "nnunet", "--out", installed_total, "--overwrite")
    options = ["--rank", "0.5", "--policy", "uniform"]
    run("total", "--format", "nnunet", "--out", tmp_path / "results", *options)
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    written = [part.load() for part in load_task("total").parts]
    assert [model.recipes for model in written] == [model.recipes for model in expected]
    assert [model.name for model in written] == [model.name for model in expected]
    for one, other in zip(written, expected, strict=True):
        assert all(torch.equal(tensor, other.weights[name]) for name, tensor in one.weights.items())


@pytest.mark.parametrize("arguments", [("onnx", "x.onnx"), ("nnunet", "results", "--dataset-name", "Dataset123_Name")])
def test_several_networks_do_not_go_to_one_place(installed_total, tmp_path, arguments):
    form, name, *options = arguments
    with pytest.raises(SpecError, match="5 networks"):
        run("total", "--format", form, "--out", tmp_path / name, *options)


@pytest.mark.parametrize(
    ("form", "option"),
    [
        ("onnx", ("--dataset-name", "Dataset123_Name")),
        ("openvino", ("--dynamic-batch",)),
        ("nnunet", ("--weights", "fp16")),
        ("openvino", ("--opset", "17")),
    ],
)
def test_options_of_another_format_are_refused(make_model_folder, tmp_path, form, option):
    with pytest.raises(SpecError, match=f"{option[0]} means nothing to the format {form}"):
        run(make_model_folder(), "--format", form, "--out", tmp_path / "x", *option)


def test_what_stands_against_it_is_said_before_the_work(make_model_folder, tmp_path):
    source = make_model_folder()
    (tmp_path / "network.onnx").touch()
    for path in ("network.onnx", "network.txt"):
        with pytest.raises(OutputError):
            run(source, "--format", "onnx", "--out", tmp_path / path, "--rank", "0.5", "--ct", tmp_path / "absent.nii")
    with pytest.raises(ModelFolderError, match="absent"):
        run(tmp_path / "absent", "--format", "onnx", "--out", tmp_path / "new.onnx")
