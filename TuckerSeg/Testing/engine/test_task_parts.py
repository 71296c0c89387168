"""Tasks of several networks, run as one: labels, which networks run, what is told, and what goes wrong."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from TuckerSegLib import InferenceSpec, Job, as_table, load_model, load_task, run_job, segment
from TuckerSegLib.catalog import structures
from TuckerSegLib.catalog.entries import task as catalog_task
from TuckerSegLib.errors import DownloadError, ModelFolderError, SpecError
from TuckerSegLib.jobs.warm_runs import Runs
from TuckerSegLib.models import calibration as calibrating
from TuckerSegLib.models.resolved_job import resolve
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.postprocessing.small_blobs import remove_small_blobs
from TuckerSegLib.preprocessing import shared_resampling
from TuckerSegLib.records.job import steps_at
from TuckerSegLib.records.serialization import from_json, to_json
from TuckerSegLib.records.statistics import RunStatistics

TOTAL = catalog_task("total")
NAMES = dict(TOTAL.structures)
PARTS = ["organs", "vertebrae", "cardiac", "muscles", "ribs"]
PROCESSOR = InferenceSpec(device="torch:cpu", precision="fp32", threads=1)


@pytest.fixture(autouse=True)
def networks(installed_total) -> Path:
    return installed_total


def by_hand(image, folder_of, inference=PROCESSOR, parts=TOTAL.parts) -> np.ndarray:
    """Every network on its own, labels laid over one another."""
    merged = np.zeros(image.geometry.shape, np.uint8)
    settings = replace(inference, step_fraction=TOTAL.step_fraction)
    for part in parts:
        found = segment(image, folder_of(part), settings).labels
        for own, value in part.labels:
            merged[found == own] = value
    return merged


def test_the_labels_are_those_of_each_network_laid_over_one_another(small_image, networks):
    result = segment(small_image, load_task("total"), PROCESSOR)
    expected = by_hand(small_image, lambda part: load_model(networks / part.dataset))
    found = set(np.unique(expected)) - {0}
    for part in TOTAL.parts:  # each can be told from all others in this test
        assert found & {value for _, value in part.labels}
    np.testing.assert_array_equal(result.labels, expected)
    assert result.labels.dtype == np.uint8
    assert {each.value: each.name for each in result.statistics.structures} == {value: NAMES[value] for value in found}
    assert [part.name for part in result.statistics.parts] == PARTS


def test_labels_of_the_nearest_grid_are_laid_over_one_another_too(small_image, networks):
    nearest = replace(PROCESSOR, output_grid="nearest")
    expected = by_hand(small_image, lambda part: load_model(networks / part.dataset), nearest)
    np.testing.assert_array_equal(segment(small_image, load_task("total"), nearest).labels, expected)


def test_the_volume_is_resampled_once(small_image, monkeypatch):
    calls = []
    whole = shared_resampling.resample_hounsfield
    monkeypatch.setattr(
        shared_resampling, "resample_hounsfield", lambda *arguments: calls.append(arguments) or whole(*arguments)
    )
    segment(small_image, load_task("total"), PROCESSOR)
    assert len(calls) == 1


def test_a_network_of_another_spacing_gets_the_volume_resampled_again(small_image, networks, tmp_path, monkeypatch):
    import json

    other = tmp_path / "results"
    shutil.copytree(networks, other)
    odd = TOTAL.parts[2]
    plans_file = other / odd.dataset / odd.configuration / "plans.json"
    plans = json.loads(plans_file.read_text())
    plans["configurations"]["3d_fullres"]["spacing"] = [2.0, 1.5, 3.0]
    plans_file.write_text(json.dumps(plans))
    monkeypatch.setenv("nnUNet_results", str(other))
    result = segment(small_image, load_task("total"), PROCESSOR)
    assert len({part.grid_voxels for part in result.statistics.parts}) == 2
    np.testing.assert_array_equal(result.labels, by_hand(small_image, lambda part: load_model(other / part.dataset)))


def test_compressed_networks_are_calibrated_each_on_the_same_volume(small_ct, networks, monkeypatch):
    monkeypatch.setattr(calibrating, "has_built_in_volumes", lambda model: False)  # resampling the torso takes long
    settings = {"steps": steps_at(0.5)}
    wanted = [TOTAL.parts[0], TOTAL.parts[4]]
    job = Job(
        (str(small_ct),), model="total", inference=PROCESSOR, structures=("organs", "ribs and sternum"), **settings
    )
    result = run_job(job)
    finer = replace(PROCESSOR, step_fraction=TOTAL.step_fraction)
    merged = np.zeros_like(result.labels)
    for part, told in zip(wanted, result.statistics.parts, strict=True):
        alone = run_job(Job((str(small_ct),), model=str(networks / part.dataset), inference=finer, **settings))
        assert told.key == alone.statistics.parts[0].key
        for own, value in part.labels:
            merged[alone.labels == own] = value
    groups = structures.groups(NAMES.values())
    kept = [value for value, name in NAMES.items() if name in groups["organs"] + groups["ribs and sternum"]]
    merged[~np.isin(merged, kept)] = 0
    assert len(np.unique(merged)) > 3
    np.testing.assert_array_equal(result.labels, merged)
    assert "calibrated" in result.statistics.compression
    assert result.statistics.parameters < result.statistics.original_parameters


def test_only_networks_that_know_a_wanted_structure_are_run_and_only_those_are_needed(
    small_image, networks, tmp_path, monkeypatch
):
    some = tmp_path / "results"
    wanted_parts = [part for part in TOTAL.parts if "organs" in part.dataset or "ribs" in part.dataset]
    for part in wanted_parts:
        shutil.copytree(networks / part.dataset, some / part.dataset)
    monkeypatch.setenv("nnUNet_results", str(some))
    result = segment(small_image, load_task("total", ["Liver", "left-kidney", "spleen", "ribs"]), PROCESSOR)
    assert [part.name for part in result.statistics.parts] == ["organs", "ribs"]
    whole = by_hand(small_image, lambda part: load_model(networks / part.dataset), parts=wanted_parts)
    wanted = [v for v, name in NAMES.items() if name in ("liver", "kidney_left", "spleen") or name.startswith("rib_")]
    expected = np.where(np.isin(whole, wanted), whole, 0)
    assert len(np.unique(expected)) > 3
    assert (whole != expected).any()
    np.testing.assert_array_equal(result.labels, expected)
    assert set(result.label_names) == set(NAMES)
    assert {each.value for each in result.statistics.structures} == set(np.unique(expected)) - {0}


def without_ribs(networks, tmp_path, monkeypatch) -> str:
    """Leaves the last network out; returns its name."""
    some = tmp_path / "results"
    for part in TOTAL.parts[:4]:
        shutil.copytree(networks / part.dataset, some / part.dataset)
    monkeypatch.setenv("nnUNet_results", str(some))
    return TOTAL.parts[4].dataset


def test_a_missing_network_is_told_before_any_runs(small_image, networks, tmp_path, monkeypatch):
    without_ribs(networks, tmp_path, monkeypatch)
    with pytest.raises(DownloadError, match=r"1 of 5 networks of total \(ribs\) are not on this computer \(234 MB"):
        load_task("total")
    assert len(load_task("total", ["liver", "heart"]).parts) == 2


@pytest.mark.parametrize("by", ["run_job", "worker"])
def test_a_missing_network_is_downloaded_once_it_is_needed(
    by, small_ct, small_image, networks, tmp_path, monkeypatch, file_server
):
    missing = without_ribs(networks, tmp_path, monkeypatch)
    archive = shutil.make_archive(str(tmp_path / "zip"), "zip", networks, missing)
    file_server.files[f"/{missing}.zip"] = Path(archive).read_bytes()
    monkeypatch.setenv("TUCKERSEG_DOWNLOAD_URL", file_server.url)
    events = []

    def run(*wanted: str):
        job = Job((str(small_ct),), model="total", inference=PROCESSOR, structures=wanted)
        if by == "run_job":
            return run_job(job, events.append)
        return Runs().segment(resolve(job), small_image, Monitor(events.append))

    run("spleen")
    assert file_server.requests == []
    result = run("spleen", "ribs")
    assert [part.name for part in result.statistics.parts] == ["organs", "ribs"]
    assert {event.get("stage") for event in events} >= {"download", "unpack", "network"}
    assert len(file_server.requests) == 1
    expected = segment(small_image, load_task("total", ["spleen", "ribs"]), PROCESSOR).labels
    np.testing.assert_array_equal(result.labels, expected)


def test_another_network_in_a_part_s_folder_is_refused(small_image, networks, tmp_path, monkeypatch):
    other = tmp_path / "results"
    shutil.copytree(networks, other)
    organs, cardiac = TOTAL.parts[0], TOTAL.parts[2]
    shutil.rmtree(other / organs.dataset)
    shutil.copytree(networks / cardiac.dataset, other / organs.dataset)
    monkeypatch.setenv("nnUNet_results", str(other))
    with pytest.raises(ModelFolderError, match=r"organs: a network of 24 structures is expected; .* has 18"):
        segment(small_image, load_task("total"), PROCESSOR)


def test_structures_of_a_single_network_are_chosen_alike(small_image, make_model_folder):
    folder = make_model_folder(labels={"background": 0, "liver": 1, "kidney_left": 2, "kidney_right": 3})
    whole = segment(small_image, load_task(str(folder)), PROCESSOR)
    kidneys = segment(small_image, load_task(str(folder), ["Kidneys"]), PROCESSOR)
    assert len(np.unique(whole.labels)) == 4
    np.testing.assert_array_equal(kidneys.labels, np.where(whole.labels > 1, whole.labels, 0))
    assert {each.name for each in kidneys.statistics.structures} == {"kidney_left", "kidney_right"}
    with pytest.raises(SpecError, match="no structure of Dataset001_Small"):
        load_task(str(folder), ["ribs"])


def test_the_step_fraction_is_the_task_s_unless_one_is_given(small_image, make_model_folder):
    assert segment(small_image, load_task("total", ["liver"]), PROCESSOR).statistics.step_fraction == 0.8
    finer = segment(small_image, load_task("total", ["liver"]), replace(PROCESSOR, step_fraction=0.4)).statistics
    assert finer.step_fraction == 0.4
    assert segment(small_image, load_task(str(make_model_folder())), PROCESSOR).statistics.step_fraction == 0.5


def test_small_blobs_are_removed_where_that_is_asked_for_and_told(small_image):
    task = load_task("total", ["liver", "spleen", "kidneys"])
    whole = segment(small_image, task, PROCESSOR)
    cleaned = segment(small_image, task, replace(PROCESSOR, remove_blobs_mm3=100.0))
    expected = whole.labels.copy()
    removed = remove_small_blobs(expected, 100.0 / (2.0 * 1.5 * 1.8))
    assert removed.voxels
    np.testing.assert_array_equal(cleaned.labels, expected)
    before, after = removed.blobs_before, removed.blobs_before - sum(removed.blobs.values())
    assert f"of up to 100 mm3 were removed ({before} blobs before, {after} after" in " ".join(cleaned.statistics.notes)
    assert cleaned.statistics.seconds["clean"] > 0
    volumes = {each.value: each.volume_ml for each in cleaned.statistics.structures}
    assert volumes == pytest.approx({v: (expected == v).sum() * 5.4e-3 for v in np.unique(expected) if v})
    assert "blobs" not in " ".join(whole.statistics.notes)
    with pytest.raises(SpecError, match="blobs"):
        replace(PROCESSOR, remove_blobs_mm3=-1.0)


def test_the_bar_grows_over_all_networks_and_ends_at_one(small_ct):
    events = []
    run_job(Job((str(small_ct),), model="total", inference=PROCESSOR), events.append)
    told = [event for event in events if "fraction" in event]
    fractions = [event["fraction"] for event in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1)
    assert told[-1]["remaining_s"] == 0
    of_networks = [event for event in events if event["event"] == "progress" and event["stage"] == "network"]
    assert list(dict.fromkeys(event["part_name"] for event in of_networks)) == PARTS
    assert {event["parts"] for event in of_networks} == {5}
    first = [event["remaining_s"] for event in of_networks if event["part"] == 1]
    assert first[-1] > 0  # four more to come


def test_statistics_are_those_of_all_networks_together_and_of_each(small_image, networks):
    statistics = segment(small_image, load_task("total"), PROCESSOR).statistics
    assert statistics.model == "total"
    for name in ("parameters", "original_parameters", "macs_per_patch", "macs_per_volume", "patches"):
        assert getattr(statistics, name) == sum(getattr(part, name) for part in statistics.parts) > 0, name
    alone = [load_model(networks / part.dataset) for part in TOTAL.parts]
    assert [part.parameters for part in statistics.parts] == [model.cost.parameters for model in alone]
    assert statistics.seconds["network"] == pytest.approx(sum(part.seconds["network"] for part in statistics.parts))
    table = as_table(statistics)
    assert all(f"Part         {name}: " in table for name in PARTS)
    assert from_json(RunStatistics, to_json(statistics)) == statistics
