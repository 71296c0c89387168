"""The command line's models: listed, downloaded when they are asked for, imported by name, removed."""

from __future__ import annotations

import functools
import json
import shutil
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest

from TuckerSegLib import catalog
from TuckerSegLib.download import fetching

LIBRARY_FOLDER = Path(__file__).resolve().parents[2]
PART = catalog.task("total_fastest").parts[0]


@pytest.fixture
def states(tuckerseg):
    """A function that gives the state of each model that is listed."""

    def listed(*arguments) -> dict[str, str]:
        return {facts["name"]: facts["state"] for facts in json.loads(tuckerseg(*arguments).stdout)}

    return listed


@pytest.fixture
def model(make_model_folder) -> Path:
    return make_model_folder(name="Dataset077_Small")


@pytest.fixture
def ct(tmp_path) -> Path:
    values = np.random.default_rng(0).integers(-1000, 1000, (36, 34, 40)).astype(np.int16)
    path = tmp_path / "ct.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values, np.diag([3.0, 3.0, 3.0, 1.0])), path)
    return path


def test_a_task_is_downloaded_when_it_is_asked_for_and_listed_from_then_on(
    states, tuckerseg, file_server, make_model_folder, ct, tmp_path, own_models, monkeypatch
):
    labels = {"background": 0, **{name: value for value, name in catalog.task("total_fastest").structures}}
    published = make_model_folder(name=PART.dataset, labels=labels)
    published.rename(published.with_name(PART.configuration))
    archive = Path(shutil.make_archive(str(tmp_path / "zip"), "zip", tmp_path, PART.dataset))
    file_server.files[f"/{PART.dataset}.zip"] = archive.read_bytes()
    monkeypatch.setenv("TUCKERSEG_DOWNLOAD_URL", file_server.url)
    assert states("models", "--json")["total_fastest"] == "not installed"
    done = tuckerseg("segment", ct, tmp_path / "labels.nii.gz", "--model", "total_fastest", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert f"{file_server.url}/{PART.dataset}.zip" in events[0]["message"]
    assert {"download", "unpack", "network"} <= {event.get("stage") for event in events}
    assert nibabel.load(tmp_path / "labels.nii.gz").shape == nibabel.load(ct).shape
    tuckerseg("inspect", "--model", "total_fastest", "--rank", 0.5)
    assert len(file_server.requests) == 1
    assert f"installed in {own_models}" in tuckerseg("models").stdout
    assert states("models", "list", "--json")["total_fastest"] == "installed"
    assert f"removed {own_models / PART.dataset}" in tuckerseg("models", "remove", "total_fastest").stdout
    assert states("models", "--json")["total_fastest"] == "not installed"


def test_the_list_says_what_a_task_is_and_what_it_takes(tuckerseg):
    listed = json.loads(tuckerseg("models", "--json").stdout)
    facts = {entry["name"]: entry for entry in listed}
    assert facts["demo"]["state"] == "built in" and facts["face"]["state"] == "license key"
    assert facts["total"]["size_bytes"] > 10**9 and len(facts["total"]["structures"]) == 117
    text = tuckerseg("models").stdout
    assert "135 MB to download" in text and "license key of TotalSegmentator needed" in text


def test_offline_the_message_has_the_address_and_the_folder(tuckerseg, run_here, own_models, monkeypatch):
    monkeypatch.setenv("TUCKERSEG_DOWNLOAD_URL", "http://127.0.0.1:9")
    done = tuckerseg("inspect", "--model", "tissue_types", check=1)
    assert "needs a license key" in done.stderr
    monkeypatch.setattr(fetching, "Patience", functools.partial(fetching.Patience, first_s=0.01))
    error = json.loads(run_here("models", "download", "total_fastest", "--json", code=1).splitlines()[-1])
    assert error["event"] == "error" and PART.url in error["message"] and str(own_models) in error["message"]
    assert tuckerseg("models", "download", "nothing", check=1).stderr.count("not a task that can be downloaded") == 1


def test_a_model_is_imported_by_name_and_removed(states, tuckerseg, model, tmp_path):
    with zipfile.ZipFile(tmp_path / "small.zip", "w") as archive:
        for file in model.rglob("*.*"):
            archive.write(file, file.relative_to(model.parent.parent))
    done = tuckerseg("models", "import", tmp_path / "small.zip", "--name", "mine")
    assert "Dataset077_Small: 19 structures" in done.stdout and "--model mine" in done.stdout
    assert states("models", "--json")["mine"] == "imported"
    assert "seg_layers" in tuckerseg("inspect", "--model", "mine", "--rank", 0.5).stdout
    tuckerseg("models", "remove", "mine")
    assert "neither a known model" in tuckerseg("inspect", "--model", "mine", check=1).stderr
