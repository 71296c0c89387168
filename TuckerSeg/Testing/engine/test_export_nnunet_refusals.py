"""Exports that are refused, fail or were tampered with leave nothing behind."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from TuckerSegLib import TuckerSpec, compress, load_model
from TuckerSegLib.errors import ModelFolderError, OutputError, SpecError, UnsupportedModelError
from TuckerSegLib.export import FORMATS, exporter
from TuckerSegLib.export.settings import ExportSettings

HALF = TuckerSpec(rank_ratio=0.5)


def exported(model, path, **settings):
    """The folder that an export has written."""
    return exporter("nnunet").export(model, path, ExportSettings(**settings)).place


def test_nothing_is_replaced_by_accident(make_model_folder, tmp_path):
    model = compress(load_model(make_model_folder()), HALF)
    folder = exported(model, tmp_path / "results")
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="is there already"):
        exported(model, tmp_path / "results")
    assert (folder / "mine.txt").is_file()
    exported(model, tmp_path / "results", overwrite=True)
    assert not (folder / "mine.txt").exists()
    assert [entry.name for entry in (tmp_path / "results").rglob(".*")] == []


def test_a_failure_leaves_nothing_behind(make_model_folder, tmp_path):
    model = compress(load_model(make_model_folder()), HALF)
    damaged = replace(model, weights={name: tensor[:1] for name, tensor in model.weights.items()})
    with pytest.raises(Exception, match=r"weight|shape|size"):
        exported(damaged, tmp_path / "results")
    assert not list((tmp_path / "results").rglob("*"))


def test_an_export_that_computes_something_else_is_refused(make_model_folder, tmp_path, monkeypatch):
    from TuckerSegLib.export import nnunet_folder

    model = compress(load_model(make_model_folder()), HALF)
    other = compress(load_model(make_model_folder("Dataset002_Other", folds=("1", "2"))), HALF)
    write = nnunet_folder._write_checkpoint
    monkeypatch.setattr(nnunet_folder, "_write_checkpoint", lambda path, model, fold: write(path, other, "2"))
    with pytest.raises(OutputError, match="computes something else"):
        exported(model, tmp_path / "results")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dataset_name": "Total"}, "Dataset123_Name"),
        ({"trainer_folder": "nnUNetTrainer"}, "nnUNetTrainer__nnUNetPlans__3d_fullres"),
        ({"weights": "fp8"}, "fp32, fp16"),
    ],
)
def test_settings_that_nobody_understands_are_refused(settings, words):
    with pytest.raises(SpecError, match=words):
        ExportSettings(**settings)


def test_a_dataset_that_nnunet_could_not_find_needs_a_name(make_model_folder, tmp_path):
    model = load_model(make_model_folder("Small"))
    with pytest.raises(SpecError, match="give it one as Dataset123_Name"):
        exported(model, tmp_path)
    folder = exported(model, tmp_path, dataset_name="Dataset123_Small", trainer_folder="Mine__nnUNetPlans__3d_fullres")
    assert folder == tmp_path / "Dataset123_Small" / "Mine__nnUNetPlans__3d_fullres"


def test_a_file_of_an_earlier_version_is_refused_with_the_reason(make_model_folder, tmp_path):
    model = load_model(make_model_folder())
    with pytest.raises(UnsupportedModelError, match="earlier"):
        exported(replace(model, plans=replace(model.plans, documents=None)), tmp_path)


def test_an_unknown_format_is_refused_and_every_known_one_has_its_names():
    with pytest.raises(SpecError, match="nnunet, onnx, openvino"):
        exporter("dicom")
    for name in FORMATS:
        assert all(hasattr(exporter(name), part) for part in ("OPTIONS", "check", "export"))


@pytest.mark.parametrize("change", [{"network_class": "os.system"}, {"recipes": ["tucker"]}, {"recipes": None}])
def test_an_exported_folder_that_was_tampered_with_is_refused(make_model_folder, tmp_path, change):
    folder = exported(compress(load_model(make_model_folder()), HALF), tmp_path / "results")
    plans = json.loads((folder / "plans.json").read_text())
    plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"].update(change)
    (folder / "plans.json").write_text(json.dumps(plans))
    with pytest.raises((UnsupportedModelError, ModelFolderError)):
        load_model(folder)


@pytest.mark.parametrize("name", ["../../outside", "a/b", "CON\\\\x", "a:b", "a?"])
def test_names_of_a_model_that_lead_elsewhere_make_no_folders(make_model_folder, tmp_path, name):
    model = load_model(make_model_folder())
    documents = {**model.plans.documents, "plans": {**model.plans.documents["plans"], "plans_name": name}}
    model = replace(model, plans=replace(model.plans, documents=documents))
    place = tmp_path / "results"
    for use in (exporter("nnunet").check, exporter("nnunet").export):
        with pytest.raises(OutputError, match="cannot be the name of a file or folder"):
            use(model, place, ExportSettings())
    assert not place.exists()
