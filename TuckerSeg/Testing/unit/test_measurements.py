"""What runs took, remembered from process to process."""

from __future__ import annotations

import json
import os
import threading

import pytest

from TuckerSegLib import measurements as module
from TuckerSegLib.cache import Cache
from TuckerSegLib.measurements import Measurements


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "own")


def test_what_was_added_is_there_for_the_next_process(cache):
    Measurements(cache).add_patch_seconds("setting", 500, 0.25)
    Measurements(cache).add_patch_seconds("setting", 900, 0.5)
    Measurements(cache).add_patch_seconds("another setting", 900, 7.0)
    Measurements(cache).add_voxel_seconds("cpu", 0.04)
    Measurements(cache).add_agreement("key", "chest", 0.9)
    later = Measurements(Cache(cache.folder.parent))
    assert later.patch_seconds("setting") == {500: 0.25, 900: 0.5}
    assert later.voxel_seconds("cpu") == 0.04
    assert later.agreement("key") == (0.9, "chest")


def test_what_was_never_measured_is_unknown(cache):
    empty = Measurements(cache)
    assert empty.patch_seconds("setting") == {}
    assert empty.voxel_seconds("cpu") is None
    assert empty.agreement("key") is None
    empty.add_patch_seconds("set", 1, 1.0)
    assert empty.patch_seconds("setting") == {}


def test_the_newest_agreement_is_told_and_a_new_value_replaces_the_old_one(cache):
    known = Measurements(cache)
    for volume, value in (("chest", 0.9), ("head", 0.8), ("chest", 0.7)):
        known.add_agreement("key", volume, value)
    assert known.agreement("key") == (0.7, "chest")
    known.add_voxel_seconds("cpu", 1.0)
    known.add_voxel_seconds("cpu", 2.0)
    assert known.voxel_seconds("cpu") == 2.0


def test_names_with_the_separator_in_them_are_kept_apart(cache):
    known = Measurements(cache)
    known.add_patch_seconds("a|patch", 5, 1.0)
    known.add_agreement("key", "left|right", 0.5)
    known.add_agreement("key|left", "right", 0.6)
    assert known.patch_seconds("a") == {}
    assert known.patch_seconds("a|patch") == {5: 1.0}
    assert known.agreement("key") == (0.5, "left|right")
    assert known.agreement("key|left") == (0.6, "right")


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"\xff\xfe", b"[]", b"3", b"null", b'{"patch": 3}', b"[3, [], [1, 2, 3, 4, 5], {}]"],
)
def test_a_damaged_file_is_an_empty_one_and_is_replaced(cache, damage):
    known = Measurements(cache)
    known.add_patch_seconds("setting", 500, 0.25)
    file = cache.folder / module.FILE_NAME
    file.write_bytes(damage)
    if damage != b"[]":
        with pytest.warns(UserWarning, match="measured again"):
            assert known.patch_seconds("setting") == {}
    known.add_patch_seconds("setting", 600, 0.5)
    assert known.patch_seconds("setting") == {600: 0.5}


def test_single_bad_entries_do_not_cost_the_good_ones(cache):
    known = Measurements(cache)
    known.add_patch_seconds("setting", 500, 0.25)
    known.add_patch_seconds("setting", 600, 0.5)
    file = cache.folder / module.FILE_NAME
    rows = json.loads(file.read_text())
    rows[next(index for index, row in enumerate(rows) if "500" in row)][3] = "soup"
    file.write_text(json.dumps(rows))
    assert known.patch_seconds("setting") == {600: 0.5}


def test_only_the_newest_are_kept(cache, monkeypatch):
    monkeypatch.setattr(module, "MOST_ENTRIES", 3)
    known = Measurements(cache)
    for number in range(5):
        known.add_patch_seconds("setting", number, 1.0)
    assert sorted(known.patch_seconds("setting")) == [2, 3, 4]


def test_several_threads_lose_nothing(cache):
    known = Measurements(cache)

    def add(start):
        for number in range(start, start + 10):
            known.add_patch_seconds("setting", number, 1.0)

    threads = [threading.Thread(target=add, args=(start,)) for start in range(0, 40, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(known.patch_seconds("setting")) == 40


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="a folder that nobody may write needs a plain user")
def test_a_cache_that_cannot_be_written_forgets(tmp_path):
    tmp_path.chmod(0o500)
    known = Measurements(Cache(tmp_path / "own"))
    known.add_patch_seconds("setting", 500, 0.25)
    assert known.patch_seconds("setting") == {}


def test_a_file_in_the_folders_place_forgets(tmp_path):
    (tmp_path / "own").write_text("not a folder")
    known = Measurements(Cache(tmp_path / "own"))
    known.add_patch_seconds("setting", 500, 0.25)
    assert known.patch_seconds("setting") == {}


GOOD = ["patch", "setting", "500", 0.25, 1e9]


@pytest.mark.parametrize(
    "row",
    [
        ["patch", "setting", "many", 0.5, 1e9],
        ["patch", "setting", "-5", 0.5, 1e9],
        ["patch", "setting", "9" * 30, 0.5, 1e9],
        ["patch", "setting", "5", float("nan"), 1e9],
        ["patch", "setting", "5", float("inf"), 1e9],
        ["patch", "setting", "5", -1.0, 1e9],
        ["patch", "setting", "5", True, 1e9],
        ["patch", "setting", "5", 10**400, 1e9],
        ["patch", "setting", "5", 0.5, float("nan")],
        ["patch", "setting", "5", 0.5, "soon"],
        ["voxel", "setting", "", None, 1e9],
        ["agreement", "setting", "chest", 1.5, 1e9],
        ["unheard of", "setting", "", 0.5, 1e9],
        [["patch"], "setting", "5", 0.5, 1e9],
        {"kind": "patch"},
    ],
)
def test_what_cannot_have_been_measured_is_told_and_passed_over(cache, row):
    file = cache.folder / module.FILE_NAME
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps([GOOD, row]))
    known = Measurements(cache)
    with pytest.warns(UserWarning, match="measured again"):
        assert known.patch_seconds("setting") == {500: 0.25}
    with pytest.warns(UserWarning, match="measured again"):
        known.add_voxel_seconds("setting", 0.5)
    assert known.voxel_seconds("setting") == 0.5 and known.agreement("setting") is None
    assert json.loads(file.read_text())[-1] == GOOD, "the file is whole again"


def test_a_file_nested_without_end_is_an_empty_one(cache):
    file = cache.folder / module.FILE_NAME
    file.parent.mkdir(parents=True)
    file.write_text("[" * 100_000)
    with pytest.warns(UserWarning, match="measured again"):
        assert Measurements(cache).patch_seconds("setting") == {}
