"""Models that come from a real server: stand-ins of small networks in the place of the published ones."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from TuckerSegLib import catalog
from TuckerSegLib.catalog.entries import Part, Task
from TuckerSegLib.download import Patience
from TuckerSegLib.errors import Cancelled, DownloadError, ModelFolderError
from TuckerSegLib.files.leftovers import leftovers
from TuckerSegLib.model_zoo import find_part, installed, models_folder
from TuckerSegLib.model_zoo.archives import unpack
from TuckerSegLib.model_zoo.installing import ensure_installed
from TuckerSegLib.models.loading import load_model
from TuckerSegLib.monitor import Monitor
from TuckerSegLib.nnunet import archives

LIBRARY_FOLDER = Path(__file__).resolve().parents[2]
QUICK = Patience(attempts=3, first_s=0.01, longest_s=0.02)
TASK = catalog.task("total_fastest")  # one network, of which no checksum is published
PART = TASK.parts[0]


def zip_of(entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file.getvalue()


@pytest.fixture
def entries(make_model_folder) -> dict[str, bytes]:
    """Files of a small network, named relative to the folder of its configuration."""
    folder = make_model_folder()
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stand_in(part: Part, entries: dict[str, bytes], within: str = "{dataset}/{configuration}/") -> bytes:
    """The zip of a part, as it is published."""
    prefix = within.format(dataset=part.dataset, configuration=part.configuration)
    return zip_of({prefix + name: content for name, content in entries.items()})


@pytest.fixture
def server(file_server, monkeypatch):
    monkeypatch.setenv("TUCKERSEG_DOWNLOAD_URL", f"{file_server.url}/")
    return file_server


def serve(server, part: Part, content: bytes) -> None:
    server.files[f"/{part.dataset}.zip"] = content


def install(task: Task = TASK, parts=None, on_event=None, cancelled=None) -> list[Path]:
    return ensure_installed(task, parts, Monitor(on_event, cancelled), QUICK)


def left_in(folder: Path) -> list[str]:
    """Names of what lies in the models' folder and its folder of downloads, locks left out."""
    names = [path.name for path in folder.iterdir() if path.name != "downloads"]
    return sorted([*names, *(path.name for path in (folder / "downloads").glob("*") if path.suffix != ".lock")])


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


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


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


def with_sum(content: bytes) -> Task:
    return dataclasses.replace(TASK, parts=(dataclasses.replace(PART, sha256=sha256(content)),))


def test_a_published_checksum_is_kept_to(server, entries, own_models):
    content = stand_in(PART, entries)
    serve(server, PART, content[:-1] + b"!")
    with pytest.raises(DownloadError, match="wrong checksum.*the published one"):
        install(with_sum(content))
    assert left_in(own_models) == []
    serve(server, PART, content)
    assert install(with_sum(content))


def test_files_whose_checksums_are_published_are_checked(server, entries):
    part = dataclasses.replace(PART, files=(("fold_0/checkpoint_final.pth", "0" * 64),))
    serve(server, part, stand_in(part, entries))
    with pytest.raises(ModelFolderError, match="fold_0/checkpoint_final.pth has a wrong checksum"):
        install(dataclasses.replace(TASK, parts=(part,)))
    assert installed(TASK) is None


def test_a_file_that_changed_since_it_was_first_seen_is_not_trusted(server, entries, own_models):
    from TuckerSegLib.model_zoo.importing import remove_model

    serve(server, PART, stand_in(PART, entries))
    install()
    remove_model("total_fastest")
    assert installed(TASK) is None
    serve(server, PART, stand_in(PART, {**entries, "readme.txt": b"changed"}))
    seen = own_models / "downloads" / f"{PART.dataset}.zip.sha256"
    with pytest.raises(DownloadError, match=f"another one when it was first downloaded here.*remove {seen}"):
        install()
    assert installed(TASK) is None
    seen.unlink()
    assert install()


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"soup", b"abc  file.zip"])
def test_a_damaged_note_of_a_checksum_is_told_and_written_again(server, entries, own_models, damage):
    serve(server, PART, stand_in(PART, entries))
    seen = own_models / "downloads" / f"{PART.dataset}.zip.sha256"
    seen.parent.mkdir(parents=True)
    seen.write_bytes(damage)
    with pytest.warns(UserWarning, match="damaged"):
        install()
    assert installed(TASK) is not None
    assert re.match("[0-9a-f]{64} ", seen.read_text())


@pytest.mark.parametrize(
    "names",
    [
        ["CON"],
        ["nul.nii"],
        ["fold_0/aux.nii.gz"],
        ["COM1.txt"],
        ["lpt9/a.txt"],
        ["com¹"],
        ["con .txt"],
        ["readme."],
        ["fold_0 /a.txt"],
        ["a?.txt"],
        ["a*b"],
        ['"quoted"'],
        ["a|b"],
        ["a<b>"],
        ["a\nb"],
        ["readme.txt", "README.txt"],
        ["fold_1/a.txt", "FOLD_1/b.txt"],
        ["stra\u00dfe.txt", "strasse.txt"],
        ["caf\u00e9.txt", "cafe\u0301.txt"],
    ],
)
def test_a_zip_with_names_that_not_every_system_takes_is_not_unpacked(entries, tmp_path, names):
    prefix = f"{PART.dataset}/{PART.configuration}/"
    archive = tmp_path / "model.zip"
    archive.write_bytes(zip_of({prefix + name: b"a" for name in [*entries, *names]}))
    with pytest.raises(ModelFolderError, match="nothing was unpacked"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_that_only_look_like_devices_and_what_file_managers_leave_are_unpacked(tmp_path):
    names = ["console.txt", "com10", "auxiliary/nulls.txt", ".hidden", "a.b.c", "__MACOSX/._CON", "x/.DS_Store"]
    (tmp_path / "model.zip").write_bytes(zip_of({name: b"a" for name in names}))
    (tmp_path / "out").mkdir()
    unpack(tmp_path / "model.zip", tmp_path / "out")
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == set(names[:5])


@pytest.mark.parametrize("kind", ["parent", "root", "drive", "backslash", "link", "bomb", "many"])
def test_a_zip_that_would_do_harm_is_not_unpacked(server, entries, own_models, monkeypatch, kind):
    monkeypatch.setattr(archives, "FREE_BYTES", 1_000_000)
    monkeypatch.setattr(archives, "MOST_ENTRIES", 20)
    outside = own_models.parent / "outside.txt"
    files = {f"{PART.dataset}/{PART.configuration}/{name}": content for name, content in entries.items()}
    names = {"parent": "../outside.txt", "root": str(outside), "drive": "C:outside.txt", "backslash": "..\\outside.txt"}
    if kind == "link":
        link = zipfile.ZipInfo(f"{PART.dataset}/link")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        files[link] = b"/etc"
    elif kind == "bomb":
        files["zeros"] = bytes(10_000_000)
    elif kind == "many":
        files |= {f"{PART.dataset}/{number}": b"" for number in range(archives.MOST_ENTRIES)}
    else:
        files[names[kind]] = b"harm"
    serve(server, PART, zip_of(files))
    with pytest.raises(ModelFolderError, match="nothing was unpacked"):
        install()
    assert not outside.exists() and installed(TASK) is None
    assert left_in(own_models) == []


def test_a_damaged_zip_and_one_of_something_else_are_errors(server, entries, own_models):
    content = bytearray(stand_in(PART, entries))
    content[len(content) // 2] ^= 0xFF
    for wrong, words in (
        (bytes(content), "is damaged at"),
        (b"<html>Please log in</html>", "is not a readable zip"),
        (zip_of({"readme.txt": b"nothing"}), "should hold nnUNetTrainer.*; found readme.txt"),
        (stand_in(PART, {"plans.json": entries["plans.json"]}), "does not hold the model: .*dataset.json is missing"),
    ):
        serve(server, PART, wrong)
        with pytest.raises(ModelFolderError, match=f"{words}.*By hand: download {PART.url}"):
            install()
        assert left_in(own_models) == []


@pytest.mark.parametrize("within", ["{configuration}/", "other_name/{configuration}/", "__MACOSX/x/"])
def test_a_zip_may_begin_with_another_folder(server, entries, within):
    files = {f"{PART.dataset}/{PART.configuration}/{name}": content for name, content in entries.items()}
    content = zip_of({**files, "__MACOSX/._x": b""}) if "MACOSX" in within else stand_in(PART, entries, within)
    serve(server, PART, content)
    assert install()[0].parts[-2:] == (PART.dataset, PART.configuration)
    assert not (models_folder() / "__MACOSX").exists()


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
