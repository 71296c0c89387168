"""What killed processes leave is removed by the next write there; what living ones write is not."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from TuckerSegLib import image
from TuckerSegLib.cache import Cache
from TuckerSegLib.cli import main
from TuckerSegLib.export.staging import require_free, staged
from TuckerSegLib.files import leftovers
from TuckerSegLib.files.atomic_writes import remove_at_once, temporary_folder, written_whole
from TuckerSegLib.hardware.compiled_cache import write_entry
from TuckerSegLib.measurements import Measurements
from TuckerSegLib.model_zoo.importing import import_model, remove_model
from TuckerSegLib.text_files import write_text

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs a signal that nobody can catch, and fork")


def killed_in(write, at: int = 1) -> None:
    """Let a child process write until its ``at``-th renaming, where it is killed."""
    pid = os.fork()
    if pid == 0:
        try:
            replace, calls = os.replace, []

            def replace_or_die(source, target):
                calls.append(target)
                if len(calls) == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                replace(source, target)

            os.replace = replace_or_die
            write()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


@pytest.fixture
def living(request):
    """A function that lets a child process begin to write and wait there until the test is over."""
    children = []

    def begin(folder: Path) -> Path:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            with temporary_folder(folder) as beside:
                (beside / "half").write_text("half")
                os.write(writing, str(beside).encode())
                signal.pause()
        children.append(pid)
        return Path(os.read(reading, 4096).decode())

    def end() -> None:
        while children:
            pid = children.pop()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    request.addfinalizer(end)
    begin.end = end
    return begin


def temporary(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".tuckerseg-*") if path.is_dir()]


def labels(folder: Path) -> None:
    array = np.ones((3, 4, 5), np.uint8)
    image.write_labels(folder / "a.nii.gz", array, image.Geometry((3, 4, 5), np.eye(4)), [])


def export(folder: Path, text: str = "a") -> None:
    with staged(folder, ["net.json", "net.bin", "net.xml"]) as inside:
        for name in ("net.xml", "net.bin", "net.json"):
            (inside / name).write_text(text)


def export_folder(folder: Path, text: str = "a") -> None:
    with staged(folder / "net") as inside:
        (inside / "plans.json").write_text(text)


WRITERS = {
    "labels": labels,
    "text": lambda folder: write_text(folder / "a.json", "{}"),
    "cache": lambda folder: Cache(folder).store("models", "a" * 32, lambda path: path.write_bytes(b"a")),
    "memo": lambda folder: Cache(folder).sha256_of_files([], lambda: "a"),
    "measurements": lambda folder: Measurements(Cache(folder)).add_patch_seconds("a", 1, 2.0),
    "compiled": lambda folder: write_entry(folder, {"a": "b"}, b"c", print),
    "export": export,
    "exported folder": export_folder,
}


@pytest.mark.parametrize("writer", WRITERS)
def test_the_next_write_removes_what_a_killed_one_left(writer, tmp_path):
    killed_in(lambda: WRITERS[writer](tmp_path))
    assert len(temporary(tmp_path)) == 1
    WRITERS[writer](tmp_path)
    assert temporary(tmp_path) == []


def test_a_killed_import_or_removal_goes_with_the_next_one(make_model_folder, own_models):
    model = make_model_folder()
    killed_in(lambda: import_model(model, "mine"))
    assert len(temporary(own_models)) == 1
    import_model(model, "mine")
    assert temporary(own_models) == []
    killed_in(lambda: remove_model("mine"))  # before the model is out of the way: it is whole
    remove_model("mine")
    assert list((own_models / "imported").iterdir()) == []


def test_a_process_killed_while_it_removes_a_folder_leaves_nothing_that_is_found(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()

    def remove():
        os.rmdir = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
        remove_at_once(tmp_path / "model")

    killed_in(remove, at=0)
    assert not (tmp_path / "model").exists() and len(temporary(tmp_path)) == 1
    assert leftovers.sweep(tmp_path) >= 0 and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_an_export_over_another_that_is_killed_is_one_of_the_two_after_the_next_look(tmp_path, at):
    export(tmp_path, "old")
    killed_in(lambda: export(tmp_path, "new"), at)
    assert len(temporary(tmp_path)) == 1
    with pytest.raises(Exception, match="is there already"):
        require_free([tmp_path / "net.xml"], overwrite=False)
    found = {path.read_text() for path in tmp_path.iterdir()}
    assert found == {"old" if at == 1 else "new"}


@pytest.mark.parametrize("at", [1, 2])
def test_a_folder_over_another_that_is_killed_is_one_of_the_two(tmp_path, at):
    export_folder(tmp_path, "old")
    killed_in(lambda: export_folder(tmp_path, "new"), at)
    leftovers.sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["net"]
    assert (tmp_path / "net" / "plans.json").read_text() == ("old" if at == 1 else "new")


def test_a_killed_first_export_is_not_ended_by_others(tmp_path):
    killed_in(lambda: export_folder(tmp_path))
    write_text(tmp_path / "a.txt", "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_what_a_living_process_writes_stays_until_it_ends(tmp_path, living):
    folder = living(tmp_path)
    (found,) = leftovers.leftovers(tmp_path)
    assert (found.path, found.owner, found.size_bytes, found.removable) == (folder, "living", 4, False)
    os.utime(folder, (1e9, 1e9))
    for writer in (labels, export):
        writer(tmp_path)
    assert (folder / "half").exists()
    living.end()
    (found,) = leftovers.leftovers(tmp_path)
    assert (found.owner, found.removable) == ("ended", True)
    labels(tmp_path)
    assert not folder.exists()


def test_two_writes_of_one_process_do_not_meet(tmp_path):
    with written_whole(tmp_path / "a") as first, written_whole(tmp_path / "a") as second:
        assert first != second and first.name == second.name == "a"
        first.write_text("first")
        second.write_text("second")
        assert [each.owner for each in leftovers.leftovers(tmp_path)] == ["living", "living"]
    assert (tmp_path / "a").read_text() == "first"  # it ended last
    assert temporary(tmp_path) == []


def test_the_number_of_a_living_process_proves_nothing(tmp_path):
    """Numbers are given again: this one is that of the test's own process, which has not made the folder."""
    killed_in(lambda: labels(tmp_path))
    (left,) = tmp_path.iterdir()
    parts = left.name.split("-")
    left.rename(left.with_name("-".join([*parts[:2], str(os.getpid()), parts[3]])))
    write_text(tmp_path / "a.txt", "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def aged(folder: Path, seconds: float) -> None:
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (time.time() - seconds,) * 2)


def test_folders_of_another_computer_go_after_a_week(tmp_path):
    foreign = tmp_path / ".tuckerseg-elsewhere-1-0123abcd"
    foreign.mkdir()
    (foreign / "half").write_text("half")
    aged(foreign, 6 * 86400)
    labels(tmp_path)
    (found,) = leftovers.leftovers(tmp_path)
    assert (found.owner, found.removable) == ("unknown", False)
    aged(foreign, 8 * 86400)
    labels(tmp_path)
    assert not foreign.exists()


def test_without_locks_only_the_age_counts(tmp_path, monkeypatch):
    import fcntl

    def no_locks(*_):
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    labels(tmp_path)
    killed_in(lambda: labels(tmp_path))
    labels(tmp_path)
    (left,) = temporary(tmp_path)
    aged(tmp_path / left, 8 * 86400)
    labels(tmp_path)
    assert temporary(tmp_path) == []


def test_a_file_system_that_gives_no_lock_to_anybody_is_written_to_and_not_swept(tmp_path, monkeypatch):
    import fcntl

    def refused(*_):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(fcntl, "flock", refused)
    monkeypatch.setattr(leftovers, "LOCK_PAUSE_S", 0)
    killed_in(lambda: labels(tmp_path))
    labels(tmp_path)
    assert len(temporary(tmp_path)) == 1 and (tmp_path / "a.nii.gz").exists()


def test_names_that_only_look_similar_are_left_alone(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / ".tuckerseg-notes").mkdir()
    (tmp_path / ".tuckerseg-here-1-0123abcd").write_text("a file")
    (tmp_path / ".tuckerseg-there-1-0123abcd").symlink_to(target)
    before = sorted(path.name for path in tmp_path.iterdir())
    os.utime(target, (1e9, 1e9))
    leftovers.sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_folder_that_is_looked_at_while_it_is_made_is_made_all_the_same(tmp_path, monkeypatch):
    lock_of, removed = leftovers._lock_of, []

    def removed_first(path):
        if not removed:
            removed.append(path)
            path.rmdir()  # as another process does that finds a folder without a lock
        return lock_of(path)

    monkeypatch.setattr(leftovers, "_lock_of", removed_first)
    with temporary_folder(tmp_path) as folder:
        assert removed == [folder] and folder.is_dir()
        assert [each.owner for each in leftovers.leftovers(tmp_path)] == ["living"]


def test_the_cache_command_tells_of_leftovers_and_removes_those_of_ended_processes(
    own_cache, own_models, tmp_path, monkeypatch, living, capsys
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    application = tmp_path / "Slicer-user"
    application.mkdir()
    Cache().folder.mkdir(parents=True)
    places = (own_models, application, Cache().folder)
    folder = living(own_models)
    for place in places:
        killed_in(lambda place=place: labels(place))
    assert main(["cache", "list"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("left by a process that was killed") == 3 and f"being written: {folder}" in printed
    assert main(["cache", "clear"]) == 0
    assert [temporary(place) for place in places] == [[folder.name], [], []]


def test_clearing_the_cache_leaves_what_another_process_is_writing(tmp_path, living):
    cache = Cache(tmp_path)
    cache.store("models", "a" * 32, lambda path: path.write_bytes(b"a"))
    folder = living(cache.folder / "models")
    cache.clear()
    assert (folder / "half").exists() and cache.entries() == []
