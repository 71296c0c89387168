"""Finding and reading nnU-Net models, and what the user is told when it does not work."""

from __future__ import annotations

import json
import os
import shutil
import warnings
import zipfile

import pytest
import torch

from TuckerSegLib import load_model
from TuckerSegLib.errors import ModelFolderError, UnsupportedModelError
from TuckerSegLib.model_zoo.importing import import_model
from TuckerSegLib.nnunet import archives
from TuckerSegLib.nnunet.folder import find_model_folder
from TuckerSegLib.nnunet.network import build_network
from TuckerSegLib.nnunet.plans import ModelPlans
from TuckerSegLib.nnunet.reading import read_plans
from TuckerSegLib.records import serialization as records


def facts_of(path) -> ModelPlans:
    folder = find_model_folder(path)
    checkpoint = folder.read_checkpoint(folder.folds[0])
    return read_plans(folder.read_json("plans.json"), folder.read_json("dataset.json"), checkpoint, str(path))


def test_a_results_folder_a_dataset_folder_and_a_zip_of_it_give_the_same_model(make_model_folder, tmp_path):
    results = make_model_folder()
    archive = shutil.make_archive(str(tmp_path / "model"), "zip", results.parent.parent, results.parent.name)
    places = (results, results.parent, archive)
    assert len({find_model_folder(place).sha256() for place in places}) == 1
    assert facts_of(results) == facts_of(results.parent) == facts_of(archive)
    first, zipped = (find_model_folder(place).read_checkpoint("0")["network_weights"] for place in (results, archive))
    assert all(torch.equal(first[name], zipped[name]) for name in first)


@pytest.mark.parametrize("residual", [False, True])
def test_old_plans_without_an_architecture_give_the_same_network_as_new_ones(make_model_folder, residual):
    new = facts_of(make_model_folder("Dataset001_New", residual=residual))
    old = facts_of(make_model_folder("Dataset002_Old", residual=residual, old_plans=True))
    shapes = [
        {name: tensor.shape for name, tensor in build_network(plans.architecture, 1, 20).state_dict().items()}
        for plans in (new, old)
    ]
    assert shapes[0] == shapes[1]


def test_plans_survive_json(make_model_folder):
    plans = facts_of(make_model_folder(labels={"background": 0, "whole": [1, 2], "core": 2}, region_order=[1, 2]))
    assert plans.region_values == (1, 2)
    assert [(label.value, label.name) for label in plans.labels] == [(1, "whole"), (2, "core")]
    assert records.from_json(ModelPlans, json.loads(json.dumps(records.to_json(plans)))) == plans


def test_an_ignore_label_is_neither_a_structure_nor_a_logit_channel(make_model_folder):
    plans = facts_of(make_model_folder(labels={"background": 0, "liver": 1, "ignore": 2}))
    assert plans.logit_channels == 2
    assert [label.name for label in plans.labels] == ["liver"]


def test_reading_plans_prints_and_warns_nothing(make_model_folder, capsys):
    folder = make_model_folder(old_plans=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        facts_of(folder)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("missing", ["plans.json", "dataset.json", "fold_0/checkpoint_final.pth"])
def test_a_missing_file_is_named(make_model_folder, missing):
    folder = make_model_folder()
    (folder / missing).unlink()
    with pytest.raises(ModelFolderError, match=missing.rpartition("/")[2]):
        facts_of(folder)


def test_a_missing_key_is_named(make_model_folder):
    folder = make_model_folder()
    plans = json.loads((folder / "plans.json").read_text())
    del plans["configurations"]["3d_fullres"]["patch_size"]
    (folder / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(ModelFolderError, match="patch_size"):
        facts_of(folder)


@pytest.mark.parametrize(
    ("file", "keys", "value"),
    [
        ("plans.json", ("configurations", "3d_fullres", "spacing"), ["wide", 1, 1]),
        ("plans.json", ("foreground_intensity_properties_per_channel",), {}),
        ("dataset.json", ("labels",), ["background", "liver"]),
    ],
)
def test_plans_that_make_no_sense_are_named(make_model_folder, file, keys, value):
    folder = make_model_folder()
    document = json.loads((folder / file).read_text())
    place = document
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    (folder / file).write_text(json.dumps(document))
    with pytest.raises(ModelFolderError, match=folder.name):
        facts_of(folder)


def test_a_truncated_checkpoint_is_named(make_model_folder):
    file = make_model_folder() / "fold_0" / "checkpoint_final.pth"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(ModelFolderError, match="fold_0/checkpoint_final.pth cannot be read"):
        find_model_folder(file.parent.parent).read_checkpoint("0")


def test_a_damaged_zip_is_named(make_model_folder, tmp_path):
    results = make_model_folder()
    archive = tmp_path / "model.zip"
    shutil.make_archive(str(archive.with_suffix("")), "zip", results.parent.parent, results.parent.name)
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(ModelFolderError, match="model.zip"):
        find_model_folder(archive).sha256()


def test_a_checkpoint_that_would_run_code_is_refused(make_model_folder, tmp_path):
    class Harmful:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    folder = make_model_folder()
    torch.save({"network_weights": {}, "extra": Harmful()}, folder / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(ModelFolderError):
        find_model_folder(folder).read_checkpoint("0")
    assert not (tmp_path / "owned").exists()


def test_a_checkpoint_with_a_flipped_byte_is_refused(make_model_folder):
    file = make_model_folder() / "fold_0" / "checkpoint_final.pth"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(ModelFolderError, match="checksum"):
        find_model_folder(file.parent.parent).read_checkpoint("0")


@pytest.mark.parametrize("place", ["network_class_name", "conv_op"])
def test_plans_that_name_foreign_classes_are_refused(make_model_folder, place):
    folder = make_model_folder()
    plans = json.loads((folder / "plans.json").read_text())
    architecture = plans["configurations"]["3d_fullres"]["architecture"]
    (architecture if place == "network_class_name" else architecture["arch_kwargs"])[place] = "os.system"
    (folder / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(UnsupportedModelError, match="os.system"):
        facts_of(folder)


def test_not_a_model_at_all(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    for path in (tmp_path / "absent", tmp_path / "notes.txt", tmp_path):
        with pytest.raises(ModelFolderError, match="nnU-Net v2 results folder"):
            find_model_folder(path)


def test_a_fold_is_used_once(make_model_folder):
    with pytest.raises(ModelFolderError, match="each fold should be named once"):
        find_model_folder(make_model_folder(), ("0", "0"))


def test_a_zip_of_very_many_entries_is_told_by_their_number(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_ENTRIES", 3)
    monkeypatch.setattr(archives, "_danger", lambda entry: pytest.fail("looks at each of them"))
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        for number in range(4):
            archive.writestr(str(number), b"")
    with pytest.raises(ModelFolderError, match="4 entries are no model"):
        find_model_folder(tmp_path / "model.zip")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes have names here")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "model.zip")
    for take in (find_model_folder, load_model, lambda path: import_model(path, "pipe")):
        with pytest.raises(ModelFolderError, match="a device or a pipe"):
            take(tmp_path / "model.zip")


def test_a_cascades_second_stage_takes_a_channel_per_structure(make_model_folder):
    regions = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "ignore": 4}
    folder = make_model_folder("Dataset004_Cascade", labels=regions, region_order=[1, 2], previous_stage="3d_lowres")
    plans = facts_of(folder)
    assert (plans.previous_stage, plans.previous_labels) == ("3d_lowres", (1, 2, 3))
    assert (plans.image_channels, plans.input_channels) == (1, 4)


def test_a_2d_configuration_is_one_of_patches_that_are_one_slice_thick(make_model_folder):
    plans = facts_of(make_model_folder(configuration_name="2d", spacing=(5.0, 2.0, 3.0), mirror_axes=(0, 1)))
    assert (plans.patch_shape, plans.mirror_axes, plans.own_mirror_axes) == ((1, 32, 32), (1, 2), (0, 1))
    assert plans.grid_spacing_mm((0.7, 1.0, 1.0)) == (0.7, 2.0, 3.0)
    assert plans.architecture.kwargs["kernel_sizes"] == [[1, 3, 3]] * 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"spacing": [1.0, 2.0, 2.0]}, "spacing"),
        ({"patch_size": [32, "32"]}, "patch_size"),
        ({"patch_size": [33, 32]}, r"patch_size\[1\]"),
        ({"architecture": {"network_class_name": 3}}, "arch_kwargs|_kw_requires_import|is missing"),
        ({"patch_size": [32]}, "patch_size"),
    ],
)
def test_a_2d_configuration_that_makes_no_sense_is_refused(make_model_folder, change, words):
    folder = make_model_folder(configuration_name="2d")
    plans = json.loads((folder / "plans.json").read_text())
    plans["configurations"]["2d"].update(change)
    (folder / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(ModelFolderError, match=words):
        facts_of(folder)


def test_folds_are_found_and_a_missing_one_is_named(make_model_folder):
    folder = make_model_folder(folds=("0", "1", "all"))
    assert find_model_folder(folder).folds == ("0", "1")
    assert find_model_folder(folder, ("all",)).folds == ("all",)
    with pytest.raises(ModelFolderError, match="fold 3 is missing; found 0, 1, all"):
        find_model_folder(folder, ("3",))
