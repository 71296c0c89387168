"""Models that come from a real server: stand-ins of small networks in the place of the published ones."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from Testing.unit.published_models import (
    PART,
    TASK,
    entries_of,
    install,
    left_in,
    serve,
    sha256,
    stand_in,
    with_sum,
    zip_of,
)
from TuckerSegLib import catalog
from TuckerSegLib.errors import Cancelled, DownloadError
from TuckerSegLib.files.leftovers import leftovers
from TuckerSegLib.model_zoo import find_part, installed
from TuckerSegLib.models.loading import load_model

LIBRARY_FOLDER = Path(__file__).resolve().parents[2]


@pytest.fixture
def entries(make_model_folder) -> dict[str, bytes]:
    return entries_of(make_model_folder())


@pytest.fixture
def server(file_server, monkeypatch):
    monkeypatch.setenv("TUCKERSEG_DOWNLOAD_URL", f"{file_server.url}/")
    return file_server


def test_a_missing_task_is_announced_fetched_checked_and_can_be_loaded(server, entries, own_models):
    content = stand_in(PART, entries)
    serve(server, PART, content)
    events = []
    assert installed(TASK) is None
    paths = install(on_event=events.append)
    assert paths == [own_models / PART.dataset / PART.configuration] == list(installed(TASK))
    message = events[0]["message"]
    assert "135 MB" in message and f"{server.url}/{PART.dataset}.zip" in message and str(own_models) in message
    told = [event for event in events if event["event"] == "progress" and event["stage"] == "download"]
    assert told[-1]["done"] == told[-1]["total"] == len(content)
    assert {event["stage"] for event in events if event["event"] == "stage"} == {"download", "unpack"}
    assert json.loads((own_models / PART.dataset / "tuckerseg.json").read_text())["sha256"] == sha256(content)
    assert left_in(own_models) == [PART.dataset, f"{PART.dataset}.zip.sha256"]
    model = load_model("total_fastest")
    assert model.folds == ("0",) and len(model.plans.labels) == 19


def test_what_is_here_is_not_fetched_again(server, entries):
    serve(server, PART, stand_in(PART, entries))
    assert install() == install()
    assert len(server.requests) == 1


def test_several_networks_are_counted_together(server, entries):
    task = catalog.task("total_mr")
    for part in task.parts:
        serve(server, part, stand_in(part, entries))
    events = []
    assert len(install(task, on_event=events.append)) == 2
    assert len(installed(task)) == 2
    told = [event for event in events if event["event"] == "progress" and event["stage"] == "download"]
    assert [event["part"] for event in told] == sorted(event["part"] for event in told)
    assert {(event["parts"], event["part_name"]) for event in told} == {(2, part.title) for part in task.parts}
    first = len(server.files[f"/{task.parts[0].dataset}.zip"])
    assert told[0]["total"] == first + task.parts[1].size_bytes  # until the server tells the second's size
    assert told[-1]["done"] == told[-1]["total"] == server.sent


def test_only_the_parts_that_are_wanted_are_fetched(server, entries):
    task = catalog.task("total")
    serve(server, task.parts[2], stand_in(task.parts[2], entries))
    assert install(task, parts=[task.parts[2]])[0].parent.name == task.parts[2].dataset
    assert installed(task) is None


def test_a_zip_that_holds_two_trainings_serves_both_tasks(server, entries):
    plain, small = catalog.task("total_v3_fast"), catalog.task("total_v3_small_fast")
    files = {f"{part.dataset}/{part.configuration}/{name}": content
             for part in (plain.parts[0], small.parts[0]) for name, content in entries.items()}  # fmt: skip
    serve(server, plain.parts[0], zip_of(files))
    assert install(plain) != install(small)
    assert len(server.requests) == 1


def test_a_download_goes_on_after_a_cut_and_after_cancelling(server, entries, own_models):
    content = stand_in(PART, entries)
    serve(server, PART, content)
    server.cuts = [len(content) // 4, len(content) // 4]
    with pytest.raises(Cancelled):
        install(cancelled=lambda: len(server.requests) == 2)
    assert installed(TASK) is None
    assert left_in(own_models) == [f"{PART.dataset}.zip.part", f"{PART.dataset}.zip.part.json"]
    install()
    assert server.sent <= len(content) + len(content) // 4
    assert "Range" in server.requests[-1][1]
    assert installed(TASK)


def test_cancelling_while_unpacking_leaves_no_half_model(server, entries, own_models):
    content = stand_in(PART, entries)
    serve(server, PART, content)
    stages = []

    def stop():
        return bool(stages) and stages[-1] == "unpack"

    with pytest.raises(Cancelled):
        install(cancelled=stop, on_event=lambda event: stages.append(event.get("stage")))
    assert left_in(own_models) == [f"{PART.dataset}.zip"]
    install()
    assert installed(TASK) and len(server.requests) == 1


def test_offline_it_says_what_to_put_where_and_takes_it_from_there(server, entries, own_models, monkeypatch):
    monkeypatch.setenv("TUCKERSEG_DOWNLOAD_URL", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match="cannot be reached") as caught:
        install()
    assert f"download {PART.url}" in str(caught.value)
    assert f"put the file into {own_models} as {PART.dataset}.zip" in str(caught.value)
    content = stand_in(PART, entries)
    by_hand = own_models / f"{PART.dataset}.zip"
    by_hand.write_bytes(content)
    with pytest.raises(DownloadError, match="wrong checksum"):
        install(with_sum(content + b"!"))
    assert by_hand.read_bytes() == content
    assert install(with_sum(content)) and not by_hand.exists()


def test_a_full_disk_is_seen_before_the_download(server, entries, own_models, monkeypatch):
    serve(server, PART, stand_in(PART, entries))
    monkeypatch.setattr("shutil.disk_usage", lambda folder: shutil._ntuple_diskusage(10**6, 10**6, 1000))
    with pytest.raises(DownloadError, match="are needed on this disk, 0 MB are free"):
        install()
    assert installed(TASK) is None


def test_a_task_that_needs_a_license_key_is_refused(server):
    with pytest.raises(DownloadError, match="tissue_types needs a license key"):
        install(catalog.task("tissue_types"))
    assert server.requests == []


def test_an_incomplete_model_gives_way(server, entries, own_models):
    half = own_models / PART.dataset / PART.configuration
    half.mkdir(parents=True)
    (half / "plans.json").write_text("{}")
    serve(server, PART, stand_in(PART, entries))
    assert find_part(PART) is None
    install()
    assert left_in(own_models) == [PART.dataset, f"{PART.dataset}.zip.sha256"]
    assert installed(TASK)


KILLED = """
import os, signal
from TuckerSegLib.catalog import task
from TuckerSegLib.model_zoo.installing import ensure_installed
from TuckerSegLib.monitor import Monitor
def kill(event):
    if event["event"] == "progress" and event["stage"] == "unpack":
        os.kill(os.getpid(), signal.SIGKILL)
ensure_installed(task("total_fastest"), monitor=Monitor(kill))
"""


@pytest.mark.skipif(os.name == "nt", reason="needs a signal that nobody can catch")
def test_a_process_that_is_killed_while_unpacking_leaves_no_half_model(server, entries, own_models):
    serve(server, PART, stand_in(PART, entries))
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=LIBRARY_FOLDER, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [found.owner for found in leftovers(own_models)] == ["ended"]
    assert installed(TASK) is None
    install()
    assert len(server.requests) == 1
    assert left_in(own_models) == [PART.dataset, f"{PART.dataset}.zip.sha256"]


def test_a_damaged_zip_of_an_earlier_run_is_fetched_anew(server, entries, own_models):
    serve(server, PART, stand_in(PART, entries))
    (own_models / "downloads").mkdir()
    (own_models / "downloads" / f"{PART.dataset}.zip").write_bytes(b"damaged")
    assert install() and len(server.requests) == 1


def test_two_processes_at_once_download_once(server, entries, own_models):
    serve(server, PART, stand_in(PART, entries))
    command = [sys.executable, "-m", "TuckerSegLib", "models", "download", "total_fastest"]
    running = [
        subprocess.Popen(command, cwd=LIBRARY_FOLDER, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
        for _ in range(2)
    ]
    ended = [process.communicate(timeout=600) for process in running]
    assert [process.returncode for process in running] == [0, 0], ended
    assert len(server.requests) == 1
    assert installed(TASK)
