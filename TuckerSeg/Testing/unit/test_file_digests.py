"""Digests of files are remembered for as long as the files stay, and what is no memory is not believed."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from TuckerSegLib.cache import Cache
from TuckerSegLib.file_digests import stamp_of


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"honest")
    return path


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache")


def digest(cache, file):
    return cache.sha256_of_files([file], lambda: sha256(file))


def all_files_have(monkeypatch, facts):
    """Of the test's own files, the system says this."""
    own, true = ("weights", "other"), Path.stat
    told = lambda path, **options: SimpleNamespace(**facts) if path.name in own else true(path, **options)  # noqa: E731
    monkeypatch.setattr(Path, "stat", told)


FACTS = {"st_size": 6, "st_mtime_ns": 10**18, "st_ctime_ns": 10**18, "st_ctime": 1e9, "st_ino": 7}


@pytest.mark.parametrize("fact", ["st_size", "st_mtime_ns", "st_ctime_ns", "st_ino"])
def test_every_fact_of_a_file_counts_by_itself(cache, file, monkeypatch, fact):
    facts, calls = dict(FACTS), []
    all_files_have(monkeypatch, facts)

    def ask():
        return cache.sha256_of_files([file], lambda: calls.append(1) or "0" * 64)

    ask(), ask()
    assert len(calls) == 1
    facts[fact] += 1
    ask(), ask()
    assert len(calls) == 2


def test_the_path_and_the_number_of_files_count(file, cache, tmp_path, monkeypatch):
    all_files_have(monkeypatch, FACTS)
    other, names = tmp_path / "other", []
    for files in ([file], [other], [file, other], [other, file], [file]):
        cache.sha256_of_files(files, lambda files=files: names.append([each.name for each in files]) or "0" * 64)
    assert names == [["weights"], ["other"], ["weights", "other"], ["other", "weights"]]


def test_a_file_edited_in_place_with_its_time_set_back_is_hashed_again(cache, file):
    for content in (b"honest", b"poison", b"honest", b"poison"):
        stat = file.stat()
        file.write_bytes(content)
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert digest(cache, file) == hashlib.sha256(content).hexdigest()


def test_another_file_of_the_same_size_and_time_in_its_place_is_hashed_again(cache, file, tmp_path):
    digest(cache, file)
    stat, other = file.stat(), tmp_path / "other"
    other.write_bytes(b"poison")
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    os.replace(other, file)
    assert digest(cache, file) == sha256(file)


def test_a_file_that_is_changed_while_it_is_read_is_not_remembered(cache, file):
    def changed_meanwhile():
        found = sha256(file)
        file.write_bytes(b"another content")
        return found

    cache.sha256_of_files([file], changed_meanwhile)
    assert digest(cache, file) == sha256(file)


def memo_of(cache):
    return cache.folder / "sources.json"


NONSENSE = [
    b"",
    b"{",
    b"\xff\xfe\x00",
    b"[]",
    b"3",
    b"[" * 100_000,
    b'{"a": 3}',
    b'{"a": null}',
    b'{"a": {"sha256": "x", "at": "soon", "files": 3}}',
    b'{"a": {"sha256": ["x"], "at": NaN}}',
]


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_nonsense_is_told_and_written_anew(cache, file, nonsense):
    digest(cache, file)
    memo_of(cache).write_bytes(nonsense)
    with pytest.warns(UserWarning, match="damaged"):
        assert digest(cache, file) == sha256(file)
    assert cache.sha256_of_files([file], lambda: "not asked") == sha256(file)


@pytest.mark.parametrize("field", ["sha256", "at", "check"])
@pytest.mark.parametrize("value", ["f" * 64, 1e400, None, [], {}, True, 10**400])
def test_an_entry_with_another_value_is_not_believed(cache, file, field, value, recwarn):
    digest(cache, file)
    memo = json.loads(memo_of(cache).read_text())
    for entry in memo.values():
        entry[field] = value
    memo_of(cache).write_text(json.dumps(memo))
    assert digest(cache, file) == sha256(file)
    assert any("damaged" in str(warning.message) for warning in recwarn)


def test_an_entry_under_another_one_s_name_is_not_believed(cache, file, tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"another")
    digest(cache, file), digest(cache, other)
    first, second = json.loads(memo_of(cache).read_text()).items()
    memo_of(cache).write_text(json.dumps({first[0]: second[1], second[0]: first[1]}))
    with pytest.warns(UserWarning, match="damaged"):
        assert [digest(cache, each) for each in (file, other)] == [sha256(file), sha256(other)]


def test_entries_of_an_earlier_version_are_passed_over_in_silence(cache, file, recwarn):
    digest(cache, file)
    early = {"0" * 32: {"sha256": "f" * 64, "files": [str(file)], "at": 1.0}}
    memo_of(cache).write_text(json.dumps(early))
    assert digest(cache, file) == sha256(file)
    assert not list(recwarn)


def test_a_stamp_is_json_and_stays_while_the_file_does(file):
    assert json.loads(json.dumps(stamp_of(file))) == stamp_of(file)


@pytest.mark.parametrize(("age_s", "waits"), [(0.001, 1), (-0.001, 1), (1.0, 0), (-1.0, 0)])
def test_a_file_that_has_just_been_changed_is_left_a_tick_of_the_clock(cache, file, monkeypatch, age_s, waits):
    slept = []
    all_files_have(monkeypatch, FACTS)
    clock = SimpleNamespace(time=lambda: FACTS["st_ctime"] + age_s, sleep=slept.append)
    monkeypatch.setattr("TuckerSegLib.file_digests.time", clock)
    cache.sha256_of_files([file], lambda: "0" * 64)
    assert len(slept) == waits
