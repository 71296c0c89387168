"""Downloads from a real server: whole, cut, changed, cancelled, on a full disk."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from Testing.unit.downloads import CONTENT, QUICK, SHA256, fetching, names, with_model
from TuckerSegLib.download import Patience, WrongChecksum, fetch, part_file
from TuckerSegLib.errors import Cancelled, DownloadError


@pytest.fixture
def server(file_server):
    return with_model(file_server)


@pytest.fixture
def get(server, tmp_path):
    return fetching(server, tmp_path)


def test_a_file_comes_whole_and_is_counted(server, get, tmp_path):
    told = []
    fetched = get(progress=lambda done, total: told.append((done, total)))
    assert fetched.path.read_bytes() == CONTENT
    assert (fetched.sha256, fetched.resumed) == (SHA256, False)
    assert told[0] == (0, len(CONTENT)) and told[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert names(tmp_path) == ["model.zip"]
    assert {name for _, headers in server.requests for name in headers} <= {
        "Accept-Encoding",
        "Host",
        "User-Agent",
        "Connection",
    }


def test_what_came_before_a_cut_is_not_asked_for_again(server, get):
    server.cuts = [1_000_000, 500_000]
    assert get().path.read_bytes() == CONTENT
    ranges = [(headers.get("Range"), headers.get("If-Range")) for _, headers in server.requests]
    assert ranges == [(None, None), ("bytes=1000000-", '"first"'), ("bytes=1500000-", '"first"')]
    assert server.sent == len(CONTENT)


def test_a_server_without_ranges_sends_it_anew(server, get):
    server.ranges, server.cuts = False, [1_000_000]
    assert get().path.read_bytes() == CONTENT
    assert server.sent == 1_000_000 + len(CONTENT)


@pytest.mark.parametrize("validators", [{"ETag": '"first"'}, {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}])
def test_a_file_that_changed_meanwhile_is_fetched_anew(server, get, validators):
    server.validators, server.cuts = validators, [1_000_000]
    other = CONTENT[::-1]

    def change(done, total):
        if done >= 1_000_000:
            server.files["/model.zip"] = other
            server.validators = {
                name: value.replace("first", "2nd").replace("01", "02") for name, value in validators.items()
            }

    assert get(sha256=None, progress=change).path.read_bytes() == other


def test_a_change_of_length_is_noticed_where_a_server_marks_no_versions(server, get):
    server.validators, server.cuts = {"ETag": 'W/"weak"'}, [1_000_000]
    other = CONTENT[::-1][:2_000_000]

    def change(done, total):
        if done >= 1_000_000:
            server.files["/model.zip"] = other

    assert get(sha256=None, progress=change).path.read_bytes() == other
    assert "If-Range" not in server.requests[1][1]


def test_a_wrong_checksum_is_an_error_and_leaves_nothing(get, tmp_path):
    with pytest.raises(WrongChecksum, match=f"Expected SHA-256 {'0' * 64}, found {SHA256}"):
        get(sha256="0" * 64)
    assert names(tmp_path) == []


def test_a_damaged_beginning_is_fetched_once_more(server, get, tmp_path):
    server.cuts = [1_000_000]
    with pytest.raises(Cancelled):
        get(cancelled=lambda: server.sent > 0)
    part = tmp_path / "model.zip.part"
    part.write_bytes(b"\0" * part.stat().st_size)
    assert get().path.read_bytes() == CONTENT


def test_a_loss_of_power_costs_only_what_was_not_safe_yet(server, get, tmp_path):
    with pytest.raises(Cancelled):
        get(cancelled=lambda: server.sent > 0)
    part, note = tmp_path / "model.zip.part", tmp_path / "model.zip.part.json"
    safe = json.loads(note.read_text())["safe"]
    with part.open("ab") as file:
        file.write(b"\0" * 100_000)  # the file was made longer, but its bytes never came to the disk
    assert get().path.read_bytes() == CONTENT
    assert server.requests[-1][1]["Range"] == f"bytes={safe}-"


def test_bytes_are_made_safe_on_the_way(server, get, tmp_path, monkeypatch):
    monkeypatch.setattr(part_file, "SYNC_BYTES", 500_000)
    safe = []

    def look(done, total):
        safe.append(json.loads((tmp_path / "model.zip.part.json").read_text())["safe"])

    get(progress=look)
    assert safe[-2] >= 2_000_000


KILLED = """
import os, signal, sys
from pathlib import Path
from TuckerSegLib.download import fetch, part_file
from TuckerSegLib.monitor import Monitor
part_file.SYNC_BYTES = 500_000
def kill(event):
    if event["done"] > 1_500_000:
        os.kill(os.getpid(), signal.SIGKILL)
fetch(sys.argv[1], Path(sys.argv[2]), monitor=Monitor(kill))
"""


@pytest.mark.skipif(os.name == "nt", reason="needs a signal that nobody can catch")
def test_a_process_that_is_killed_leaves_what_the_next_one_goes_on_from(server, get, tmp_path):
    library = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", KILLED, f"{server.url}/model.zip", tmp_path / "model.zip"]
    assert subprocess.run(command, cwd=library, capture_output=True).returncode == -signal.SIGKILL
    assert not (tmp_path / "model.zip").exists()
    fetched = get()
    assert fetched.path.read_bytes() == CONTENT and fetched.resumed
    assert int(server.requests[-1][1]["Range"].removeprefix("bytes=").removesuffix("-")) >= 1_000_000


def test_a_part_that_is_whole_already_is_taken(server, get, tmp_path):
    with pytest.raises(Cancelled):
        get(cancelled=lambda: server.sent > 0)
    note_file = tmp_path / "model.zip.part.json"
    (tmp_path / "model.zip.part").write_bytes(CONTENT)
    note_file.write_text(json.dumps({**json.loads(note_file.read_text()), "safe": len(CONTENT)}))
    sent = server.sent
    assert get().path.read_bytes() == CONTENT
    assert server.sent == sent


def test_a_part_of_another_address_is_not_mixed_in(server, get):
    server.files["/other.zip"] = CONTENT[::-1]
    with pytest.raises(Cancelled):
        get(path="/other.zip", cancelled=lambda: server.sent > 0)
    assert get().path.read_bytes() == CONTENT
    assert "Range" not in server.requests[-1][1]


def test_cancelling_keeps_what_came_and_the_next_time_goes_on(server, get, tmp_path):
    seen = []

    def stop():
        seen.append(server.sent)
        return len(seen) > 3

    with pytest.raises(Cancelled):
        get(cancelled=stop)
    kept = (tmp_path / "model.zip.part").stat().st_size
    assert 0 < kept < len(CONTENT)
    assert names(tmp_path) == ["model.zip.part", "model.zip.part.json"]
    fetched = get()
    assert fetched.path.read_bytes() == CONTENT and fetched.resumed
    assert server.requests[-1][1]["Range"] == f"bytes={kept}-"


def test_a_server_that_is_busy_is_asked_again(server, get):
    server.statuses = [503, 429]
    assert get().path.read_bytes() == CONTENT
    assert len(server.requests) == 3


def test_pauses_double_and_a_server_that_stays_busy_is_left(server, tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr("TuckerSegLib.download.fetching._wait", lambda seconds, cancelled: waited.append(seconds))
    server.statuses = [503] * 9
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1 cannot be reached \(HTTP status 503\)"):
        fetch(server.url + "/model.zip", tmp_path / "model.zip", patience=Patience(5, 1.0, 60.0))
    assert len(waited) == 4 and len(server.requests) == 5
    assert all(0.5 * 2**n <= seconds <= 2**n for n, seconds in enumerate(waited))


def test_room_is_asked_for_before_anything_is_written(get, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**7, 10**7 - 4000, 4_000_000))
    assert get().path.read_bytes() == CONTENT
    with pytest.raises(DownloadError, match="7 MB are needed on this disk, 4 MB are free"):
        get(spare=lambda total: int(1.3 * total))
    assert names(tmp_path) == ["model.zip"]


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 1 MB, where this process may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
    if done.returncode:
        pytest.skip("needs the right to mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_fills_up_is_an_error_and_what_came_is_kept(server, small_disk, monkeypatch):
    monkeypatch.setattr("TuckerSegLib.download.fetching.check_space", lambda folder, needed: None)
    with pytest.raises(DownloadError, match="the disk is full. Make room and try again"):
        fetch(server.url + "/model.zip", small_disk / "model.zip", SHA256, patience=QUICK)
    assert (small_disk / "model.zip.part").stat().st_size > 0
    assert len(server.requests) == 1


def test_a_small_disk_is_seen_before_the_download(server, small_disk):
    with pytest.raises(DownloadError, match="3 MB are needed on this disk, 1 MB are free"):
        fetch(server.url + "/model.zip", small_disk / "model.zip", SHA256, patience=QUICK)
