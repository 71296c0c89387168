"""What the worker answers: labels as a run in this process gives them, facts, and errors in words."""

from __future__ import annotations

import re

import numpy as np
import pytest

from TuckerSegLib import InferenceSpec, compress, image_from_array, load_model, load_task, segment
from TuckerSegLib.compression.tucker.method import Spec
from TuckerSegLib.records.serialization import from_json
from TuckerSegLib.records.statistics import RunStatistics


def labels_of(answer, shape) -> np.ndarray:
    """The worker's labels on the whole volume's grid."""
    whole = np.zeros(shape, dtype=np.uint8)
    if answer["labels"] is not None:
        box = tuple(slice(first, last) for first, last in zip(answer["labels"]["lower"], answer["labels"]["upper"]))
        whole[box] = np.load(answer["labels"]["path"])
    return whole


def plain_run(volume, model_folder, rank_ratio=0.5):
    """The same without a worker."""
    image = image_from_array(volume.voxels, affine=np.asarray(volume.file.affine), source="noise")
    return segment(image, compress(load_model(model_folder), Spec(rank_ratio=rank_ratio)))


def test_it_speaks_before_it_has_imported_anything_large(start_worker):
    worker = start_worker(cold=True)
    ready = worker.until(None, "ready")
    assert ready["pid"] == worker.process.pid
    assert worker.said == [ready]
    assert "torch" in worker.until(None, "imported")["versions"]


def test_labels_and_statistics_are_those_of_a_run_in_this_process(
    start_worker, hand_over, make_model_folder, job_for, tmp_path
):
    model, volume, worker = make_model_folder(), hand_over(), start_worker()
    request = {"job": job_for(model, 0.5), "volume": volume.document, "labels": str(tmp_path / "labels.npy")}
    answer = worker.ask("segment", **request, structures=None)
    expected = plain_run(volume, model)
    assert expected.labels.any()
    np.testing.assert_array_equal(labels_of(answer, volume.voxels.shape), expected.labels)
    stored = np.load(answer["labels"]["path"])
    assert all(stored.take(edge, axis).any() for axis in range(3) for edge in (0, -1)), "the box is not the smallest"
    statistics = from_json(RunStatistics, answer["statistics"])
    assert statistics.structures == expected.statistics.structures
    assert statistics.macs_per_volume == expected.statistics.macs_per_volume
    assert statistics.volume == "noise"
    assert answer["label_names"]["3"] == "structure_3"


def test_only_the_structures_that_were_asked_for_are_kept(
    start_worker, hand_over, make_model_folder, job_for, tmp_path
):
    model, volume, worker = make_model_folder(), hand_over(), start_worker()
    request = {"job": job_for(model, 0.5), "volume": volume.document, "labels": str(tmp_path / "labels.npy")}
    expected = plain_run(volume, model)
    kept = [found.name for found in expected.statistics.structures][::2]
    answer = worker.ask("segment", **request, structures=kept)
    values = [found.value for found in expected.statistics.structures if found.name in kept]
    alone = np.where(np.isin(expected.labels, values), expected.labels, 0)
    np.testing.assert_array_equal(labels_of(answer, volume.voxels.shape), alone)
    assert [found["name"] for found in answer["statistics"]["structures"]] == kept
    smallest = min(expected.statistics.structures, key=lambda found: found.volume_ml)
    answer = worker.ask("segment", **request, structures=[smallest.name])
    np.testing.assert_array_equal(labels_of(answer, volume.voxels.shape) > 0, expected.labels == smallest.value)
    assert np.load(answer["labels"]["path"]).size < expected.labels.size, "too large to tell a box from the volume"
    names = {found.name for found in expected.statistics.structures}
    absent = next(name for name in expected.label_names.values() if name not in names)
    answer = worker.ask("segment", **request, structures=[absent])
    assert answer["labels"] is None
    assert answer["statistics"]["structures"] == []
    answer = worker.ask("segment", **request, structures=["no such structure"])
    assert (answer["event"], answer["kind"]) == ("error", "SpecError")
    assert "no such structure" in answer["message"]


def test_a_task_of_several_networks_is_run_whole_and_in_part(
    start_worker, hand_over, installed_total, job_for, tmp_path
):
    volume, worker = hand_over((24, 30, 28)), start_worker()
    job = job_for("total", device="torch:cpu", precision="fp32")
    request = {"job": job, "volume": volume.document, "labels": str(tmp_path / "labels.npy")}
    image = image_from_array(volume.voxels, affine=np.asarray(volume.file.affine))
    expected = segment(image, load_task("total"), InferenceSpec(device="torch:cpu", precision="fp32"))
    answer = worker.ask("segment", **request, structures=None)
    np.testing.assert_array_equal(labels_of(answer, volume.voxels.shape), expected.labels)
    statistics = from_json(RunStatistics, answer["statistics"])
    assert [part.key for part in statistics.parts] == [part.key for part in expected.statistics.parts]
    told = [event for event in worker.said if "fraction" in event]
    assert [event["fraction"] for event in told] == sorted(event["fraction"] for event in told)
    assert told[-1]["fraction"] == pytest.approx(1)
    assert {event["part"] for event in told if event["event"] == "progress"} == {1, 2, 3, 4, 5}
    answer = worker.ask("segment", **request, structures=["liver", "spleen"])
    alone = segment(image, load_task("total", ["liver", "spleen"]), InferenceSpec(device="torch:cpu", precision="fp32"))
    np.testing.assert_array_equal(labels_of(answer, volume.voxels.shape), alone.labels)
    assert [part["name"] for part in answer["statistics"]["parts"]] == ["organs"]


def test_progress_grows_and_stages_are_told(start_worker, hand_over, make_model_folder, job_for, tmp_path):
    worker = start_worker()
    request = {"job": job_for(make_model_folder(), 0.5), "volume": hand_over().document, "structures": None}
    worker.ask("segment", **request, labels=str(tmp_path / "labels.npy"))
    events = [event for event in worker.said if event["id"] == 1]
    fractions = [event["fraction"] for event in events if "fraction" in event]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1)
    stages = [event["stage"] for event in events if event["event"] == "stage"]
    assert stages == ["load", "compress", "prepare", "preprocess", "network"]
    patches = [event for event in events if event["event"] == "progress" and event["stage"] == "network"]
    assert [event["done"] for event in patches] == list(range(1, patches[-1]["total"] + 1))
    planes = [event for event in events if event["event"] == "progress" and event["stage"] == "finish"]
    assert planes[-1]["done"] == planes[-1]["total"]
    assert patches[0]["remaining_s"] > planes[-1]["remaining_s"] == 0


def test_a_second_run_finds_everything_warm(start_worker, hand_over, make_model_folder, job_for, tmp_path):
    worker = start_worker()
    request = {"job": job_for(make_model_folder(), 0.5), "volume": hand_over().document, "structures": None}
    first = worker.ask("segment", **request, labels=str(tmp_path / "1.npy"))
    second = worker.ask("segment", **request, labels=str(tmp_path / "2.npy"))
    stages = [event["stage"] for event in worker.said if event["id"] == 2 and event["event"] == "stage"]
    assert stages == ["load", "preprocess", "network"]
    assert {"compress", "prepare"} <= set(first["statistics"]["seconds"])
    np.testing.assert_array_equal(np.load(tmp_path / "1.npy"), np.load(tmp_path / "2.npy"))
    assert second["label_names"] == first["label_names"]


def test_a_model_that_was_replaced_on_disk_is_read_again(start_worker, make_model_folder, tmp_path):
    model = make_model_folder(labels={"background": 0, "old": 1})
    worker = start_worker()
    assert worker.ask("describe_model", model=str(model))["labels"] == [{"value": 1, "name": "old"}]
    for file in make_model_folder(name="Dataset002_Other", labels={"background": 0, "new": 1}).iterdir():
        if file.is_file():
            (model / file.name).write_bytes(file.read_bytes())
    assert worker.ask("describe_model", model=str(model))["labels"] == [{"value": 1, "name": "new"}]


def test_a_model_and_the_hardware_are_described(start_worker, make_model_folder):
    worker = start_worker()
    model = make_model_folder(mirror_axes=(0, 1), folds=("0", "1"))
    described = worker.ask("describe_model", model=str(model))
    loaded = load_model(model)
    assert described["parameters"] == 2 * loaded.cost.parameters
    assert described["macs_per_patch"] == 2 * loaded.cost.macs
    assert described["patch_shape"] == [32, 32, 32]
    assert described["mirroring_allowed"]
    assert len(described["labels"]) == 19
    hardware = worker.ask("devices")
    assert any(device["id"] == hardware["automatic"]["id"] for device in hardware["devices"] if device["usable"])
    assert all(device["usable"] or device["reason"] for device in hardware["devices"])
    assert hardware["automatic"]["reason"]


def test_errors_come_in_words_and_the_next_request_is_served(
    start_worker, hand_over, make_model_folder, job_for, tmp_path
):
    worker, volume = start_worker(), hand_over()
    absent = worker.ask("describe_model", model="/nowhere/model")
    assert (absent["event"], absent["kind"]) == ("error", "ModelFolderError")
    assert "/nowhere/model" in absent["message"]
    assert absent["advice"]
    assert absent["details"] == ""
    job = job_for(make_model_folder(), 0.5, device="tpu")
    labels = str(tmp_path / "labels.npy")
    no_device = worker.ask("segment", job=job, volume=volume.document, labels=labels, structures=None)
    assert (no_device["kind"], "device" in no_device["advice"]) == ("BackendError", True)
    unknown = worker.ask("fly")
    assert "fly" in unknown["message"]
    incomplete = worker.ask("segment")
    assert incomplete["event"] == "error"
    assert "Traceback" in incomplete["details"]
    assert worker.ask("devices")["event"] == "result"


def test_lines_that_are_no_requests_are_passed_over(start_worker):
    worker = start_worker()
    for line in ("{\n", "[1, 2]\n", '{"id": 1}\n', '{"request": "devices"}\n', '"text"\n', "\n", "null\n"):
        worker.write(line)
        assert "no request" in worker.until(None, "log")["message"]
    assert worker.ask("devices")["event"] == "result"


def test_whatever_a_line_holds_the_worker_lives_on(start_worker, hand_over, job_for, tmp_path):
    worker, volume = start_worker(), hand_over((8, 8, 8))
    for line in (
        "[" * 100_000,
        "a" * 9_000_000,
        '{"request": "devices", "id": {}}',
        '{"request": "cancel", "target": []}',
    ):
        worker.write(f"{line}\n")
        assert "no request" in worker.until(None, "log")["message"]
    job, labels = job_for("demo"), str(tmp_path / "labels.npy")
    sound = {"job": job, "volume": volume.document, "labels": labels}
    torn = tmp_path / "torn.npy"
    # numpy reads the header as a text of Python, which has no end here
    torn.write_bytes(b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + b"{'descr': (".ljust(117) + b"\n")
    for change, words in (
        ({"job": {**job, "images": 3}}, "Job.images should be a list"),
        ({"job": {**job, "inference": {**job["inference"], "batch_size": "many"}}}, "batch_size should be a whole"),
        ({"job": {**job, "model": ["demo"]}}, "Job.model should be text"),
        ({"volume": {**volume.document, "path": "/nowhere/volume.npy"}}, "noise: its voxels should be in /nowhere"),
        ({"volume": {**volume.document, "path": __file__}}, "its voxels should be in"),
        ({"volume": {**volume.document, "path": str(torn)}}, "noise: its voxels should be in"),
        ({"volume": {**volume.document, "shape": [8, 8, 9]}}, "expected .8, 8, 9. voxels"),
        ({"volume": {**volume.document, "affine": [[1.0]]}}, "an affine of 4x4"),
        ({"volume": {**volume.document, "affine": [[1.0] * 3, *[[1.0] * 4] * 3]}}, "an affine of 4x4"),
        ({"labels": 3}, "'labels' should be the whole path of a .npy file"),
        ({"structures": "liver"}, "'structures' should be a list of texts"),
    ):
        answer = worker.ask("segment", **{**sound, **change})
        assert answer["event"] == "error"
        assert re.search(words, answer["message"]), answer["message"]
    assert worker.ask("devices")["event"] == "result"


def test_a_broken_installation_is_told_to_every_request(start_worker, tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('libtorch is missing')")
    worker = start_worker(cold=True, environment={"PYTHONPATH": str(tmp_path)})
    for _ in range(2):
        answer = worker.ask("devices")
        assert (answer["kind"], answer["message"]) == ("ImportError", "libtorch is missing")
        assert "Dependencies" in answer["advice"]


def test_what_a_library_prints_does_not_break_the_stream(start_worker, make_model_folder):
    code = (
        "import os, sys\n"
        "from TuckerSegLib import cli; from TuckerSegLib.jobs import warm_models\n"
        "whole = warm_models.load_model\n"
        "def talkative(*arguments):\n"
        "    print('a greeting from Python', flush=True)\n"
        "    os.write(1, b'and one from below, without an end of line')\n"
        "    os.system('echo a child process too')\n"
        "    return whole(*arguments)\n"
        "warm_models.load_model = talkative\n"
        "sys.exit(cli.main())\n"
    )
    worker = start_worker(code=code)
    assert worker.ask("describe_model", model=str(make_model_folder()))["event"] == "result"
    assert {event["event"] for event in worker.said} == {"ready", "imported", "result"}
