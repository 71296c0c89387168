"""``tuckerseg plan`` and ``tuckerseg compare`` as a researcher meets them."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from TuckerSegLib import read_image
from TuckerSegLib.records.comparison import ComparisonRow
from TuckerSegLib.records.estimate import Estimate
from TuckerSegLib.records.serialization import from_json


@pytest.fixture
def ct(hand_over, tmp_path) -> Path:
    volume = hand_over()
    path = tmp_path / "ct.nii.gz"
    nibabel.save(nibabel.Nifti1Image(volume.voxels.transpose(2, 1, 0), np.asarray(volume.file.affine)), path)
    return path


@pytest.fixture
def model(make_model_folder) -> Path:
    return make_model_folder(patch_shape=(16, 16, 16))


@pytest.fixture
def planned(tuckerseg):
    """A function that plans a run."""

    def plan(*arguments) -> Estimate:
        return from_json(Estimate, json.loads(tuckerseg("plan", *arguments, "--json").stdout))

    return plan


def test_a_plan_tells_what_the_run_then_says(planned, tuckerseg, ct, model, tmp_path):
    options = (ct, "--model", model, "--rank", 0.5, "--step", 0.4)
    before = planned(*options)
    assert before.seconds is None
    stats = tmp_path / "stats.json"
    tuckerseg("segment", ct, tmp_path / "labels.nii.gz", *options[1:], "--stats", stats)
    run = json.loads(stats.read_text())
    assert "settled" in before.notes[0]  # nothing was calibrated yet: the budget is all that is known
    assert run["macs_per_patch"] <= before.macs_per_patch
    after = planned(*options)
    assert not any("settled" in note for note in after.notes)
    for name in ("parameters", "macs_per_patch", "macs_per_volume", "patches", "device", "precision"):
        assert getattr(after, name) == run[name], name
    (part,) = run["parts"]  # of the network alone: the whole run checks its labels, too
    taken = sum(part["seconds"][stage] for stage in ("preprocess", "network", "finish"))
    assert planned(*options).seconds == pytest.approx(taken, rel=1e-3)  # the run was remembered


def test_a_plan_measures_when_asked_and_reads_well(tuckerseg, ct, model):
    text = tuckerseg("plan", ct, "--model", model, "--rank", 0.5).stdout
    assert "not measured" in text
    assert "--measure" in text
    text = tuckerseg("plan", ct, "--model", model, "--rank", 0.5, "--measure").stdout
    seconds = next(line for line in text.splitlines() if line.startswith("seconds"))
    assert "not measured" not in seconds
    assert seconds.endswith("x")
    assert "Agreement    not measured" in text
    assert "free" in text


def test_a_comparison_is_a_table_label_maps_and_a_document(planned, tuckerseg, ct, model, tmp_path):
    folder = tmp_path / "new" / "comparison"
    done = tuckerseg("compare", ct, "--model", model, "--ranks", "1,0.75,0.25", "--out", folder)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines[1:4]] == ["1.00", "0.75", "0.25"]
    rows = [from_json(ComparisonRow, row) for row in json.loads((folder / "comparison.json").read_text())]
    assert [row.strength for row in rows] == [1.0, 0.75, 0.25]
    assert lines[2][5] == f"{rows[1].agreement:.3f}"
    original, small = (read_image(str(folder / name)).array for name in ("original.seg.nrrd", "rank-0.25.seg.nrrd"))
    assert original.shape == small.shape == read_image(str(ct)).array.shape
    assert (original != small).any()
    assert planned(ct, "--model", model, "--rank", 0.25).agreement == rows[2].agreement


def test_a_comparison_as_json_is_one_event_per_line(tuckerseg, ct, model):
    done = tuckerseg("compare", ct, "--model", model, "--ranks", 0.5, "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    rows = [event["row"] for event in events if event["event"] == "row"]
    assert [row["rank_ratio"] for row in rows] == [1.0, 0.5]
    fractions = [event["fraction"] for event in events if "fraction" in event]
    assert fractions == sorted(fractions)


@pytest.mark.parametrize("ranks", ["1", "0", "2,0.5", "half", ""])
def test_ranks_that_cannot_be_compared_are_refused_at_once(tuckerseg, ct, ranks):
    assert "rank" in tuckerseg("compare", ct, "--ranks", ranks, check=1).stderr.lower()


def test_a_folder_that_cannot_be_made_is_said_before_the_work(tuckerseg, ct, tmp_path):
    (tmp_path / "file").write_text("")
    done = tuckerseg("compare", ct, "--out", tmp_path / "file" / "folder", check=1)
    assert "cannot be made" in done.stderr
