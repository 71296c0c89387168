"""Which of a training's checkpoints is taken, and what is told where a model's place is none."""

from __future__ import annotations

import datetime
import json
import pathlib
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from TuckerSegLib import Job, load_model, read_image, run_job
from TuckerSegLib.cli.main import main
from TuckerSegLib.errors import ImageError, ModelFolderError, SpecError, UnsupportedModelError
from TuckerSegLib.jobs.warm_models import WarmModels
from TuckerSegLib.model_zoo.importing import import_model
from TuckerSegLib.models.resolved_job import resolve
from TuckerSegLib.nnunet.folder import find_model_folder
from TuckerSegLib.worker.requests import job_of

KINDS = ("final", "best", "latest")


@pytest.fixture
def folder(make_model_folder):
    """A model folder with all three checkpoints of a training, each with weights of its own."""
    folder = make_model_folder(labels={"background": 0, "one": 1, "two": 2})
    final = folder / "fold_0" / "checkpoint_final.pth"
    for number, kind in enumerate(KINDS):
        checkpoint = torch.load(final, weights_only=False)
        for weight in checkpoint["network_weights"].values():
            weight += 0.1 * number
        torch.save(checkpoint, final.with_name(f"checkpoint_{kind}.pth"))
    return folder


def weights_of(model):
    return next(iter(model.weights.values()))


@pytest.mark.parametrize("place", ["folder", "zip"])
def test_each_checkpoint_gives_its_own_weights_and_its_own_key(folder, place, tmp_path):
    model = folder if place == "folder" else shutil.make_archive(str(tmp_path / "model"), "zip", folder)
    models = {kind: load_model(model, checkpoint=kind) for kind in (None, *KINDS)}
    for kind in KINDS:
        again = load_model(model, checkpoint=kind)  # from the cache
        stored = torch.load(folder / "fold_0" / f"checkpoint_{kind}.pth", weights_only=False)["network_weights"]
        assert again.key == models[kind].key
        assert torch.equal(weights_of(again), stored[next(iter(again.weights)).partition("/")[2]])
    assert models[None].key == models["final"].key
    assert len({models[kind].key for kind in KINDS}) == 3


def test_without_a_final_checkpoint_the_best_is_taken_and_the_latest_only_where_it_is_asked_for(folder):
    (folder / "fold_0" / "checkpoint_final.pth").unlink()
    assert load_model(folder).key == load_model(folder, checkpoint="best").key
    (folder / "fold_0" / "checkpoint_best.pth").unlink()
    with pytest.raises(ModelFolderError, match="Found checkpoint_latest.pth: name the checkpoint latest"):
        load_model(folder)
    assert load_model(folder, checkpoint="latest")
    with pytest.raises(ModelFolderError, match="no checkpoint_best.pth found.* name the checkpoint latest"):
        load_model(folder, checkpoint="best")


def test_jobs_and_warm_models_go_by_the_checkpoint(folder, small_ct, tmp_path):
    warm, labels = WarmModels(), {}
    for kind in KINDS:
        job = Job(images=(str(small_ct),), model=str(folder), checkpoint=kind)
        labels[kind] = run_job(job).labels
        assert warm.described(resolve(job)).parts[0].load().key == load_model(folder, checkpoint=kind).key
    assert any((labels["final"] != labels[kind]).any() for kind in ("best", "latest"))
    assert job_of({"job": {"images": []}, "model": str(folder), "checkpoint": "best"}).checkpoint == "best"


def test_the_command_line_takes_a_checkpoint(folder, small_ct, tmp_path, capsys):
    arguments = ["segment", str(small_ct), str(tmp_path / "labels.nii.gz"), "--model", str(folder)]
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, "--checkpoint", "first"])
    (folder / "fold_0" / "checkpoint_final.pth").write_bytes(b"damaged")
    assert main(arguments) == 1
    assert main([*arguments, "--checkpoint", "best"]) == 0


def test_a_checkpoint_that_is_none_is_refused(folder, tmp_path):
    with pytest.raises(SpecError, match="final, best, latest"):
        Job(images=(), checkpoint="newest")
    load_model(folder).save(tmp_path / "model.tuckerseg")
    with pytest.raises(SpecError, match="holds the weights of one checkpoint; asked for: best"):
        load_model(tmp_path / "model.tuckerseg", checkpoint="best")


def test_the_folder_of_a_fold_is_named_as_what_it_is(folder, monkeypatch):
    monkeypatch.chdir(folder / "fold_0")
    for path in (folder / "fold_0", "."):
        with pytest.raises(ModelFolderError, match="is one fold of a model. Give the folder above it, .*3d_fullres"):
            find_model_folder(path)


def test_a_checkpoint_is_named_as_what_it_is(folder):
    with pytest.raises(ModelFolderError, match="checkpoint_final.pth is a checkpoint.*3d_fullres, where it lies"):
        find_model_folder(folder / "fold_0" / "checkpoint_final.pth")


@pytest.mark.parametrize("place", ["", "fold_0"])
def test_a_model_of_the_first_nnunet_is_named_as_what_it_is(tmp_path, place):
    (tmp_path / "v1" / "fold_0").mkdir(parents=True)
    (tmp_path / "v1" / "plans.pkl").write_bytes(b"x")
    (tmp_path / "v1" / "fold_0" / "model_final_checkpoint.model").write_bytes(b"x")
    with pytest.raises(UnsupportedModelError, match="a model of nnU-Net v1"):
        find_model_folder(tmp_path / "v1" / place)
    archive = shutil.make_archive(str(tmp_path / "model"), "zip", tmp_path / "v1")
    with pytest.raises(UnsupportedModelError, match="a model of nnU-Net v1"):
        find_model_folder(archive)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123456\n"


@pytest.mark.parametrize("name", ["plans.json", "dataset.json", "fold_0/checkpoint_final.pth"])
def test_a_pointer_of_git_lfs_is_named_as_what_it_is(folder, name):
    (folder / name).write_bytes(POINTER)
    with pytest.raises(ModelFolderError, match="a pointer of Git LFS.*git lfs pull"):
        load_model(folder)


@pytest.mark.parametrize("name", ["model.zip", "model.tuckerseg"])
def test_a_model_in_one_file_that_is_a_pointer_is_named_as_what_it_is(tmp_path, name):
    (tmp_path / name).write_bytes(POINTER)
    with pytest.raises(Exception, match="a pointer of Git LFS.*git lfs pull"):
        load_model(tmp_path / name)


@pytest.mark.parametrize("name", ["ct.nii.gz", "ct.nrrd", "ct.mha"])
def test_an_image_that_is_a_pointer_is_named_as_what_it_is(tmp_path, name):
    (tmp_path / name).write_bytes(POINTER)
    with pytest.raises(ImageError, match="a pointer of Git LFS.*git lfs pull"):
        read_image(tmp_path / name)


BESIDE = [
    pathlib.PurePosixPath("/data"),
    pathlib.PureWindowsPath("C:/data"),
    pathlib.Path("/data"),
    np.arange(5.0),
    np.array(["a", "b"]),
    np.array([{"a": 1}, None], dtype=object),
    np.zeros(2, dtype=[("x", "f4"), ("y", "i8")]),
    np.float64(0.5),
    np.int32(3),
    np.bool_(True),
    np.datetime64("2024-01-01"),
    np.random.default_rng(0).bit_generator.state,
    datetime.datetime(2024, 1, 1),
    datetime.timedelta(days=1),
    torch.device("cpu"),
    torch.float16,
    torch.Size([1, 2]),
    {1, 2},
    frozenset({1}),
    1 + 2j,
    slice(0, 3),
    range(3),
]


@pytest.mark.parametrize("value", BESIDE, ids=lambda value: type(value).__name__)
def test_what_lies_beside_the_weights_is_passed_over(folder, value):
    file = folder / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=False)
    checkpoint["init_args"]["output_folder"] = value
    torch.save(checkpoint | {"logging": {"mean_fg_dice": [value], "all": value}}, file)
    assert set(find_model_folder(folder).read_checkpoint("0")["network_weights"]) == set(checkpoint["network_weights"])


def test_labels_as_text_are_the_numbers_that_they_say(make_model_folder):
    labels = {"background": "0", "liver": "1", "spleen": "2"}
    plans = load_model(make_model_folder(labels=labels)).plans
    assert {label.value: label.name for label in plans.labels} == {1: "liver", 2: "spleen"}


def test_labels_with_a_gap_are_refused_by_their_names(make_model_folder):
    folder = make_model_folder()
    document = json.loads((folder / "dataset.json").read_text())
    document["labels"] = {"background": 0, "liver": 1, "spleen": 2, "aorta": 4}
    (folder / "dataset.json").write_text(json.dumps(document))
    with pytest.raises(ModelFolderError, match="'aorta' is 4.*expected 3"):
        load_model(folder)


def test_a_damaged_member_of_a_zip_is_told_as_damaged(folder, tmp_path):
    """Its first bytes are looked at before it is read: whether they are a pointer."""
    archive = Path(shutil.make_archive(str(tmp_path / "model"), "zip", folder))
    content = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as file:
        member = file.getinfo("plans.json")
    start = member.header_offset + 30 + len("plans.json")
    content[start : start + member.compress_size] = b"\xff" * member.compress_size
    archive.write_bytes(content)
    for take in (load_model, lambda path: import_model(path, "mine")):
        with pytest.raises(ModelFolderError, match="plans.json cannot be read"):
            take(archive)
