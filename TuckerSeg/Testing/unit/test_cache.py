"""The cache: entries appear whole, the oldest go first, and nothing that is damaged is used."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from TuckerSegLib.cache import Cache, default_folder, key_of
from TuckerSegLib.errors import SpecError

A, OLD, MIDDLE, NEW = (key_of(name=name) for name in ("a", "old", "middle", "new"))


def writer(size: int):
    return lambda path: path.write_bytes(b"x" * size)


def test_an_entry_is_found_after_it_was_stored_and_gone_after_clear(tmp_path):
    cache = Cache(tmp_path)
    assert cache.find("models", A) is None
    path = cache.store("models", A, writer(100))
    assert cache.find("models", A) == path
    assert [(entry.kind, entry.key, entry.size_bytes) for entry in cache.entries()] == [("models", A, 100)]
    assert cache.clear() == 100
    assert cache.entries() == []


def test_a_write_that_fails_leaves_neither_entry_nor_rest_and_stops_nobody(tmp_path):
    def failing(path):
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    cache = Cache(tmp_path)
    assert cache.store("models", A, failing) is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def interrupted(path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Cache(tmp_path).store("models", A, interrupted)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_least_recently_used_entries_go_when_the_limit_is_passed(tmp_path):
    cache = Cache(tmp_path, limit_bytes=250)
    for age, key in ((30, OLD), (20, MIDDLE)):
        os.utime(cache.store("models", key, writer(100)), (1e9 - age, 1e9 - age))
    cache.find("models", OLD)  # used again, so no longer the oldest
    cache.store("models", NEW, writer(100))
    assert {entry.key for entry in cache.entries()} == {OLD, NEW}


def test_a_compiled_form_that_is_asked_for_counts_as_used(tmp_path):
    cache = Cache(tmp_path, limit_bytes=10**6)
    for age, key in ((30, OLD), (20, MIDDLE)):
        folder = cache.compiled_folder(key)
        folder.mkdir(parents=True)
        (folder / "a.compiled").write_bytes(b"x" * 100)
        for path in (folder / "a.compiled", folder):
            os.utime(path, (1e9 - age, 1e9 - age))
    cache.compiled_folder(OLD)
    assert [entry.key for entry in cache.entries()] == [OLD, MIDDLE]


def test_clear_removes_what_a_killed_process_left(tmp_path):
    cache = Cache(tmp_path)
    cache.store("models", A, writer(100))
    (cache.folder / "models" / ".b-halfway").write_bytes(b"x" * 50)
    assert cache.clear() == 150
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_a_killed_process_left_goes_after_a_day(tmp_path):
    cache = Cache(tmp_path)
    cache.store("models", A, writer(100))
    old, new = (cache.folder / "models" / name for name in (".old", ".new"))
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (1e9, 1e9))
    cache.keep_limit()
    assert not old.exists()
    assert new.exists(), "another process may be writing it"


def test_an_entry_larger_than_the_limit_is_still_stored(tmp_path):
    cache = Cache(tmp_path, limit_bytes=10)
    assert cache.store("models", A, writer(100)).exists()


def test_keys_change_with_every_fact():
    keys = {key_of(source="a", rank=1), key_of(source="a", rank=2), key_of(source="b", rank=1), key_of(source="a")}
    assert len(keys) == 4


def test_a_source_is_hashed_once_until_it_changes(tmp_path):
    file, calls = tmp_path / "weights", []
    file.write_bytes(b"1")
    cache = Cache(tmp_path / "cache")

    def compute():
        calls.append(1)
        return file.read_bytes().hex()

    assert [cache.sha256_of_files([file], compute) for _ in range(2)] == ["31", "31"]
    assert len(calls) == 1
    file.write_bytes(b"23")
    assert cache.sha256_of_files([file], compute) == "3233"


def test_a_damaged_memo_is_made_again(tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(b"1")
    cache = Cache(tmp_path / "cache")
    cache.sha256_of_files([file], lambda: "first")
    (cache.folder / "sources.json").write_text('{"key": ["not", "a', encoding="utf-8")
    assert cache.sha256_of_files([file], lambda: "again") == "again"


def test_two_threads_storing_the_same_key_leave_one_whole_entry(tmp_path):
    cache = Cache(tmp_path)
    threads = [threading.Thread(target=cache.store, args=("models", A, writer(10**6))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.size_bytes for entry in cache.entries()] == [10**6]


def test_the_limit_from_the_environment_is_checked(tmp_path, monkeypatch):
    monkeypatch.setenv("TUCKERSEG_CACHE_LIMIT_GB", "0.5")
    assert Cache(tmp_path).limit_bytes == 2**29
    monkeypatch.setenv("TUCKERSEG_CACHE_LIMIT_GB", "plenty")
    with pytest.raises(SpecError, match="plenty"):
        Cache(tmp_path)


def test_a_cache_that_cannot_be_written_does_not_stop_a_run(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("a file where the folder should be")
    cache = Cache(blocked)
    assert cache.store("models", A, writer(1)) is None
    assert cache.entries() == []
    cache.keep_limit()
    assert cache.clear() == 0


def test_what_could_not_be_removed_is_not_said_to_be_freed(tmp_path, monkeypatch):
    cache = Cache(tmp_path)
    cache.store("models", A, writer(100))
    monkeypatch.setattr("TuckerSegLib.cache._remove", lambda path: None)
    assert cache.clear() == 0


def test_importing_the_cache_needs_no_torch():
    code = "import sys; sys.path.insert(0, sys.argv[1]); import TuckerSegLib.cache; print('torch' in sys.modules)"
    root = str(__import__("pathlib").Path(__file__).resolve().parents[2])
    assert (
        subprocess.run([sys.executable, "-c", code, root], capture_output=True, encoding="utf-8").stdout.strip()
        == "False"
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="XDG folders are Linux's")
def test_an_empty_xdg_folder_counts_as_unset(monkeypatch):
    monkeypatch.delenv("TUCKERSEG_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert default_folder().is_absolute()


NO_KEYS = ["", "..", "../../elsewhere", "a/b", "A" * 32, "g" * 32, "a" * 31, "a" * 33, f"{'a' * 32}\n"]


@pytest.mark.parametrize("key", NO_KEYS)
def test_a_key_is_a_hexadecimal_digest(tmp_path, key):
    cache = Cache(tmp_path)
    for use in (cache.find, cache.path, cache.discard, lambda kind, key: cache.store(kind, key, writer(1))):
        with pytest.raises(SpecError, match="32 hexadecimal digits"):
            use("models", key)


def test_what_is_none_of_the_cache_s_is_neither_listed_nor_removed(tmp_path):
    cache = Cache(tmp_path, limit_bytes=0)
    cache.store("models", A, writer(100))
    names = ["notes.txt", "my model.tuckerseg", f"{A}.txt", f"{OLD}x.tuckerseg", f"{A.upper()}.tuckerseg"]
    strangers = [cache.folder / "models" / name for name in names]
    for path in strangers:
        path.write_bytes(b"x")
        os.utime(path, (1e9, 1e9))
    assert [entry.key for entry in cache.entries()] == [A]
    cache.store("models", NEW, writer(100))
    cache.clear()
    assert all(path.exists() for path in strangers) and cache.entries() == []


def test_leftovers_of_every_kind_are_found_and_go(tmp_path):
    cache = Cache(tmp_path)
    cache.store("models", A, writer(100))
    compiled = cache.path("compiled", A)
    compiled.mkdir(parents=True)
    left = [cache.folder / "models" / ".x", compiled / ".compiled-x", cache.folder / "sources.123", cache.folder / ".y"]
    for path in left:
        path.write_bytes(b"x")
        os.utime(path, (1e9, 1e9))
    assert sorted(entry.path for entry in cache.leftovers()) == sorted(left)
    cache.keep_limit()
    assert cache.leftovers() == [] and cache.path("models", A).exists()


def test_keys_change_with_the_layout(monkeypatch):
    before = key_of(source="a")
    monkeypatch.setattr("TuckerSegLib.cache.LAYOUT_VERSION", 99)
    assert key_of(source="a") != before
