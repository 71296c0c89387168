"""How the worker orders its work, and that it ends, whatever happens around it, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from TuckerSegLib.records.job import InferenceSpec
from TuckerSegLib.records.serialization import to_json

LIBRARY_FOLDER = Path(__file__).resolve().parents[2]
LONG = (160, 150, 170)  # voxels; some hundred patches of the small model


@pytest.fixture
def long_run(hand_over, make_model_folder, job_for, tmp_path):
    """A request that takes many seconds."""
    return {
        "job": job_for(make_model_folder(), step_fraction=0.25),
        "volume": hand_over(LONG, name="large").document,
        "labels": str(tmp_path / "large-labels.npy"),
        "structures": None,
    }


def estimate_of(request, **changes):
    volume = request["volume"]
    question = {
        "job": {**request["job"], "inference": to_json(InferenceSpec())},
        "shape": volume["shape"],
        "affine": volume["affine"],
        "measure": False,
    }
    return {**question, **changes}


def is_running(pid: int) -> bool:
    """Whether a process exists that has not ended; one that waits for its parent to notice has."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, encoding="utf-8").stdout
    return bool(status) and not status.startswith("Z")


def wait_for_end(pid: int, within_s: float = 600) -> bool:
    ends_at = time.monotonic() + within_s
    while is_running(pid) and time.monotonic() < ends_at:
        time.sleep(0.02)
    return not is_running(pid)


def test_a_cancelled_run_ends_before_it_is_done_and_the_next_one_is_done_by_the_same_process(
    start_worker, hand_over, job_for, long_run, tmp_path
):
    worker, volume = start_worker(), hand_over()
    number = worker.send("segment", **long_run)
    worker.until(number, "progress")
    worker.send("cancel", target=number)
    assert worker.answer(number)["event"] == "cancelled"
    assert not os.path.exists(long_run["labels"])
    request = {"job": long_run["job"], "volume": volume.document, "structures": None}
    again = worker.ask("segment", **request, labels=str(tmp_path / "again.npy"))
    fresh = start_worker().ask("segment", **request, labels=str(tmp_path / "fresh.npy"))
    np.testing.assert_array_equal(np.load(again["labels"]["path"]), np.load(fresh["labels"]["path"]))
    assert worker.process.poll() is None


def test_a_run_can_be_cancelled_before_it_begins_and_after_it_has_ended(start_worker, long_run):
    worker = start_worker()
    number = worker.send("segment", **long_run)
    worker.send("cancel", target=number)
    assert worker.answer(number)["event"] == "cancelled"
    worker.send("cancel", target=number)
    worker.send("cancel", target=12345)
    assert worker.ask("devices")["event"] == "result"


def test_questions_are_answered_while_a_run_computes(start_worker, long_run):
    worker = start_worker()
    run = worker.send("segment", **long_run)
    worker.until(run, "progress")
    assert worker.ask("describe_model", model=long_run["job"]["model"])["event"] == "result"
    assert worker.ask("estimate", **estimate_of(long_run))["event"] == "result"
    worker.send("cancel", target=run)
    assert worker.answer(run)["event"] == "cancelled", "the run ended before the questions were answered"


def test_of_several_previews_only_the_latest_is_made(start_worker, hand_over, long_run, tmp_path):
    worker, volume = start_worker(), hand_over()
    request = {"job": long_run["job"], "volume": volume.document, "point": [-10, 0, 60]}
    numbers = [worker.send("preview", **request, labels=str(tmp_path / f"{index}.npy")) for index in range(4)]
    assert [worker.answer(number)["event"] for number in numbers] == ["dropped", "dropped", "dropped", "result"]
    assert [file.name for file in tmp_path.glob("?.npy")] == ["3.npy"]


def test_a_run_goes_before_previews_and_measurements_that_wait(start_worker, hand_over, long_run, tmp_path):
    worker, volume = start_worker(), hand_over()
    first = worker.send("segment", **long_run)
    measuring = worker.send("estimate", **estimate_of(long_run, measure=True))
    preview = {"job": long_run["job"], "volume": volume.document, "point": [-10, 0, 60]}
    previewing = worker.send("preview", **preview, labels=str(tmp_path / "preview.npy"))
    second = worker.send("segment", **{**long_run, "volume": volume.document})
    worker.send("cancel", target=first)
    events = [worker.answer(number)["event"] for number in (first, measuring, previewing, second)]
    assert events == ["cancelled", "cancelled", "cancelled", "result"]


@pytest.mark.parametrize("way", ["its input ends", "SIGTERM", "shutdown"])
@pytest.mark.parametrize("computing", [False, True])
def test_it_ends_before_its_run_does_and_its_folder_is_gone(start_worker, long_run, way, computing):
    worker = start_worker(cold=way == "SIGTERM")
    if computing:
        worker.until(worker.send("segment", **long_run), "progress")
    else:
        worker.until(None, "imported")
    (worker.workspace / "volume.npy").write_bytes(b"voxels")
    if way == "its input ends":
        worker.process.stdin.close()
    elif way == "SIGTERM":
        worker.process.send_signal(signal.SIGTERM)
    else:
        worker.send("shutdown")
    assert "result" not in [event["event"] for event in worker.rest()]
    assert worker.process.wait(timeout=600) == 0
    assert not worker.workspace.exists()


def test_it_ends_when_its_input_ends_before_anything_is_imported(start_worker):
    worker = start_worker(cold=True)
    worker.until(None, "ready")
    worker.process.stdin.close()
    assert worker.process.wait(timeout=600) == 0
    assert not worker.workspace.exists()


def test_it_ends_with_a_parent_that_was_killed(long_run, tmp_path):
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    code = (
        "import json, subprocess, sys\n"
        "command = [sys.executable, '-m', 'TuckerSegLib', 'worker', '--workspace', sys.argv[1]]\n"
        "worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "worker.stdin.write(sys.argv[2].encode() + b'\\n')\n"
        "worker.stdin.flush()\n"
        "for line in worker.stdout:\n"
        "    if json.loads(line)['event'] == 'progress':\n"
        "        print(worker.pid, flush=True)\n"
    )
    request = json.dumps({"id": 1, "request": "segment", **long_run})
    command = [sys.executable, "-c", code, str(workspace), request]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=LIBRARY_FOLDER)
    pid = int(parent.stdout.readline())
    assert is_running(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert wait_for_end(pid)
    assert not workspace.exists()


def test_nobody_asks_for_long_and_it_ends(start_worker):
    worker = start_worker("--idle", "5")
    worker.until(None, "imported")
    for _ in range(4):  # each question lets it wait anew
        time.sleep(1.5)
        assert worker.ask("devices")["event"] == "result"
    assert worker.process.wait(timeout=600) == 0
    assert not worker.workspace.exists()


def test_a_run_that_takes_longer_than_the_idle_time_is_not_idle(start_worker, long_run):
    worker = start_worker("--idle", "0.5")
    number = worker.send("segment", **long_run)
    worker.until(number, "progress")
    time.sleep(1.5)
    worker.send("cancel", target=number)
    assert worker.answer(number)["event"] == "cancelled"
