"""The command line as a user or a script meets it: results, events, exit codes, and bad input."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

LIBRARY_FOLDER = Path(__file__).resolve().parents[2]


def command(*arguments) -> list[str]:
    """Words that start a fresh Python for it."""
    return [sys.executable, "-m", "TuckerSegLib", *map(str, arguments)]


@pytest.fixture
def ct(tmp_path) -> Path:
    """A small volume in the range of HU."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, 1, 6, 6, 6, generator=generator) * 500
    values = torch.nn.functional.interpolate(coarse, (40, 36, 44), mode="trilinear")[0, 0]
    path = tmp_path / "ct.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values.clamp(-1000, 1500).numpy().astype(np.int16), np.diag([2, 2.5, 3, 1])), path)
    return path


@pytest.fixture
def model(make_model_folder) -> Path:
    return make_model_folder(patch_shape=(16, 16, 16))


def test_what_the_program_warns_of_is_told_in_words_and_not_as_a_place_in_its_source(tuckerseg, model, tmp_path):
    options = ("--model", model, "--rank", 0.5, "--calibrate", "none")
    told = tuckerseg("compress", tmp_path / "small.tuckerseg", *options).stderr
    assert "Warning: The compression goes by the weights alone" in told
    assert ".py" not in told and "UserWarning" not in told


def test_segment_writes_labels_on_the_input_grid_and_statistics(tuckerseg, ct, model, tmp_path):
    output, stats = tmp_path / "labels.nii.gz", tmp_path / "stats.json"
    words = command("segment", ct, output, "--model", model, "--rank", 0.5, "--stats", stats)
    done = subprocess.run(words, cwd=LIBRARY_FOLDER, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    source, labels = nibabel.load(ct), nibabel.load(output)
    assert labels.shape == source.shape
    np.testing.assert_allclose(labels.affine, source.affine, atol=1e-5)
    record = json.loads(stats.read_text())
    assert record["parameters"] < record["original_parameters"]
    assert record["macs_per_volume"] == record["macs_per_patch"] * record["patches"]
    assert set(record["seconds"]) >= {"read", "load", "compress", "prepare", "network", "finish", "write", "total"}
    values = np.unique(np.asarray(labels.dataobj))
    assert {structure["value"] for structure in record["structures"]} == set(values.tolist()) - {0}
    assert "GFLOPs" in done.stdout
    assert "Written: " in done.stdout


def test_json_mode_prints_one_event_per_line(tuckerseg, ct, model, tmp_path):
    done = tuckerseg("segment", ct, tmp_path / "labels.nrrd", "--model", model, "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    progress = [event for event in events if event["event"] == "progress"]
    assert progress[-1]["done"] == progress[-1]["total"]
    assert progress[-1]["remaining_s"] == 0
    assert events[-1]["event"] == "result"
    patches = [event for event in progress if event["stage"] == "network"]
    assert events[-1]["statistics"]["patches"] == patches[-1]["total"]


def test_a_saved_model_segments_as_its_folder_does(tuckerseg, ct, model, tmp_path):
    tuckerseg("compress", tmp_path / "small.tuckerseg", "--model", model, "--rank", 0.5, "--ct", ct)
    tuckerseg("segment", ct, tmp_path / "a.nii.gz", "--model", tmp_path / "small.tuckerseg")
    tuckerseg("segment", ct, tmp_path / "b.nii.gz", "--model", model, "--rank", 0.5)
    first, second = (np.asarray(nibabel.load(tmp_path / f"{name}.nii.gz").dataobj) for name in "ab")
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("options", [(), ("--rank", "1"), ("--method", "prune:1")])
def test_inspect_of_what_stays_as_it_is_lists_all_layers(tuckerseg, model, options):
    text = tuckerseg("inspect", "--model", model, *options).stdout
    assert text.count("Conv") == 1 and text.count("as it is") > 5


def test_inspect_lists_every_layer_with_its_reason(tuckerseg, model):
    text = tuckerseg("inspect", "--model", model, "--rank", 0.5).stdout
    assert "seg_layers" in text
    layers = json.loads(tuckerseg("inspect", "--model", model, "--rank", 0.5, "--json").stdout)
    assert all((layer["ranks"] is None) == (layer["skipped_because"] is not None) for layer in layers)
    paper = json.loads(tuckerseg("inspect", "--model", model, "--policy", "paper", "--json").stdout)
    assert all(layer["ranks"] for layer in paper)


def test_devices_models_and_cache_answer_people_and_programs(tuckerseg, ct, model, tmp_path):
    devices = json.loads(tuckerseg("devices", "--json").stdout)
    assert any(device["usable"] for device in devices)
    assert all(device["usable"] or device["reason"] for device in devices)
    assert "auto takes" in tuckerseg("devices").stdout
    assert json.loads(tuckerseg("models", "--json").stdout)[0]["name"] == "demo"
    tuckerseg("segment", ct, tmp_path / "labels.mha", "--model", model)
    assert {entry["kind"] for entry in json.loads(tuckerseg("cache", "--json").stdout)} >= {"models", "compiled"}
    assert "Freed" in tuckerseg("cache", "clear").stdout
    assert json.loads(tuckerseg("cache", "--json").stdout) == []


def test_wrong_usage_is_exit_code_2(tuckerseg, ct):
    for arguments in ((), ("segment", ct), ("segment", ct, "out.nii.gz", "--precision", "fp8"), ("fly",)):
        assert tuckerseg(*arguments, check=2).stderr


def spoiled(kind: str, ct: Path, folder: Path) -> Path:
    """A file that is bad in one way."""
    path = folder / "bad.nii.gz"
    good = nibabel.load(ct)
    values = np.asarray(good.dataobj)
    if kind == "truncated":
        path.write_bytes(ct.read_bytes()[: ct.stat().st_size // 2])
    elif kind == "not an image":
        path.write_bytes(gzip.compress(b"These are not voxels. " * 100))
    elif kind == "absent":
        path = folder / "absent.nii.gz"
    elif kind == "4D":
        nibabel.save(nibabel.Nifti1Image(np.stack([values, values], axis=-1), good.affine), path)
    elif kind == "one voxel":
        nibabel.save(nibabel.Nifti1Image(values[:1, :1, :1], good.affine), path)
    elif kind == "all zero":
        nibabel.save(nibabel.Nifti1Image(values * 0, good.affine), path)
    elif kind == "sheared":
        affine = good.affine.copy()
        affine[0, 2] = 2.0
        nibabel.save(nibabel.Nifti1Image(values, affine), path)
    elif kind == "RGB":
        colors = np.zeros(values.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
        nibabel.save(nibabel.Nifti1Image(colors, good.affine), path)
    elif kind == "DICOM-less folder":
        path = folder / "empty"
        path.mkdir()
    return path


@pytest.mark.parametrize(
    "kind",
    ["truncated", "not an image", "absent", "4D", "one voxel", "all zero", "sheared", "RGB", "DICOM-less folder"],
)
def test_a_bad_image_is_one_clear_message_and_no_file(tuckerseg, kind, ct, model, tmp_path):
    bad = spoiled(kind, ct, tmp_path)
    done = tuckerseg("segment", bad, tmp_path / "labels.nii.gz", "--model", model, check=1)
    assert bad.name in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.glob("*labels*"))


def test_a_4d_image_is_segmented_at_the_time_point_asked_for(tuckerseg, ct, model, tmp_path):
    bad = spoiled("4D", ct, tmp_path)
    tuckerseg("segment", bad, tmp_path / "labels.nii.gz", "--model", model, "--timepoint", 1)
    assert nibabel.load(tmp_path / "labels.nii.gz").shape == nibabel.load(ct).shape


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "absent"), "neither a known model"),
        (("--rank", "1.5"), "rank"),
        (("--step", "0"), "step fraction"),
        (("--device", "cuda:7"), "cuda:7"),
        (("--precision", "fp16", "--device", "torch:cpu"), "fp16"),
        (("--folds", "4"), "fold 4 is missing"),
    ],
)
def test_a_bad_setting_is_one_clear_message(tuckerseg, arguments, words, ct, model, tmp_path):
    options = arguments if "--model" in arguments else (*arguments, "--model", model)
    done = tuckerseg("segment", ct, tmp_path / "labels.nii.gz", *options, check=1)
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*labels*"))


@pytest.mark.parametrize("output", ["absent/labels.nii.gz", "labels.png", "folder"])
def test_an_output_that_cannot_be_written_is_told_before_the_work_begins(tuckerseg, output, ct, model, tmp_path):
    (tmp_path / "folder").mkdir()
    done = tuckerseg("segment", ct, tmp_path / output, "--model", model, check=1)
    assert Path(output).name in done.stderr


def test_the_image_that_is_read_is_never_written_over(tuckerseg, ct, model, tmp_path):
    content = ct.read_bytes()
    link = tmp_path / "link.nii.gz"
    link.symlink_to(ct)
    for output in (ct, link):
        assert "is read" in tuckerseg("segment", ct, output, "--model", model, check=1).stderr
    assert ct.read_bytes() == content


def test_statistics_that_cannot_be_written_are_told_before_the_work_begins(tuckerseg, ct, model, tmp_path):
    options = ("--model", model, "--stats", tmp_path / "absent" / "stats.json")
    assert "stats.json" in tuckerseg("segment", ct, tmp_path / "labels.nii.gz", *options, check=1).stderr
    assert not list(tmp_path.glob("*labels*"))


def test_suspicious_intensities_are_told(tuckerseg, ct, model, tmp_path):
    good = nibabel.load(ct)
    values = np.asarray(good.dataobj).astype(float)
    values[3, 3, 3] = np.nan
    nibabel.save(nibabel.Nifti1Image((values * 0 + np.clip(values, 0, 200)).astype(np.float32), good.affine), ct)
    text = tuckerseg("segment", ct, tmp_path / "labels.nii.gz", "--model", model).stdout
    assert "HU" in text
    assert "finite" in text or "NaN" in text


def test_an_error_in_json_mode_is_an_event(tuckerseg, model, tmp_path):
    done = tuckerseg("segment", "absent.nii", tmp_path / "labels.nii.gz", "--model", model, "--json", check=1)
    assert json.loads(done.stdout.splitlines()[-1])["event"] == "error"


def test_debug_shows_where_an_error_comes_from(tuckerseg, model, tmp_path):
    done = tuckerseg("segment", "absent.nii", tmp_path / "labels.nii.gz", "--model", model, "--debug", check=1)
    assert "Traceback" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_before_it_is_done_and_leaves_no_file(number, model, tmp_path):
    large = tmp_path / "large.nii.gz"
    values = np.random.default_rng(0).integers(-1000, 1000, (200, 200, 200)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([3, 3, 3, 1])), large)
    process = subprocess.Popen(
        command("segment", large, tmp_path / "labels.nii.gz", "--model", model, "--json"),
        cwd=LIBRARY_FOLDER,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    for line in process.stdout:
        if json.loads(line)["event"] == "progress":
            break
    process.send_signal(number)
    output, errors = process.communicate(timeout=600)
    assert json.loads(output.splitlines()[-1])["event"] == "stopped"
    assert process.returncode == 130, errors
    assert "Stopped" in errors
    assert not list(tmp_path.glob("*labels*"))
