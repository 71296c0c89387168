"""Files reach the disk before they get their name, and the name before anybody relies on it."""

from __future__ import annotations

import errno
import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from TuckerSegLib import image, tensor_file
from TuckerSegLib.cache import Cache
from TuckerSegLib.errors import OutputError
from TuckerSegLib.export.staging import staged
from TuckerSegLib.files import atomic_writes
from TuckerSegLib.files.atomic_writes import remove_at_once, temporary_folder, written_whole
from TuckerSegLib.files.moves import NEW, move_all
from TuckerSegLib.hardware.compiled_cache import write_entry
from TuckerSegLib.measurements import Measurements
from TuckerSegLib.text_files import write_text

POSIX = pytest.mark.skipif(os.name == "nt", reason="folders are not told to the disk on Windows")


@dataclass
class Disk:
    """What was told to the disk and renamed, in order; an entry is named by its inode."""

    calls: list[tuple] = field(default_factory=list)

    def faults(self) -> list[str]:
        """Renames of what was not safe before, and names that were not made safe after."""
        found, safe = [], set()
        for number, (call, *facts) in enumerate(self.calls):
            if call == "fsync":
                safe.add(facts[0])
                continue
            source, target, content, folder = facts
            if folder is None:
                continue  # to or within a temporary folder: nobody relies on it
            found += [f"{target}: {name} was not synced before" for name, state in content if state not in safe]
            later = [facts[0][0] for call, *facts in self.calls[number:] if call == "fsync"]
            if folder not in later:
                found.append(f"{target}: its folder was not synced after")
        return found

    @property
    def renamed(self) -> list[str]:
        return [Path(facts[1]).name for call, *facts in self.calls if call == "replace" and facts[3] is not None]


@pytest.fixture
def disk(monkeypatch) -> Disk:
    found, fsync, replace = Disk(), os.fsync, os.replace

    def state(path) -> tuple:
        facts = os.stat(path)
        return (facts.st_ino, None if stat.S_ISDIR(facts.st_mode) else (facts.st_size, facts.st_mtime_ns))

    def recorded_fsync(handle):
        fsync(handle)
        found.calls.append(("fsync", state(handle)))

    def recorded_replace(source, target):
        inside = [Path(source), *Path(source).rglob("*")]
        content = [(str(path), state(path)) for path in inside]
        temporary = any(parent.name.startswith(".tuckerseg-") for parent in Path(target).absolute().parents)
        folder = None if temporary else os.stat(Path(target).absolute().parent).st_ino
        replace(source, target)
        found.calls.append(("replace", source, target, content, folder))

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    return found


def labels(folder: Path, name: str = "labels.nii.gz") -> None:
    array = np.zeros((3, 4, 5), np.uint8)
    array[1] = 1
    image.write_labels(folder / name, array, image.Geometry((3, 4, 5), np.eye(4)), [image.Segment(1, "a", (1, 0, 0))])


def tensors(folder: Path) -> None:
    import torch

    tensor_file.write_tensors(folder / "model.tuckerseg", {"a": torch.ones(2)}, {"b": 1})


def cache_entry(folder: Path) -> None:
    import torch

    write = lambda path: tensor_file.write_tensors(path, {"a": torch.ones(2)}, {})  # noqa: E731
    assert Cache(folder).store("models", "a" * 32, write)


def memo(folder: Path) -> None:
    (folder / "weights").write_text("a")
    Cache(folder).sha256_of_files([folder / "weights"], lambda: "ab")


def export_of_files(folder: Path) -> None:
    with staged(folder, ["net.json", "net.bin", "net.xml"]) as inside:
        for name in ("net.xml", "net.bin", "net.json"):
            (inside / name).write_text(name)


def export_of_a_folder(folder: Path) -> None:
    with staged(folder / "Dataset001_A" / "net") as inside:
        (inside / "fold_0").mkdir()
        for name in ("plans.json", "fold_0/checkpoint.pth"):
            (inside / name).write_text(name)


def export_over_another(folder: Path) -> None:
    export_of_a_folder(folder)
    export_of_a_folder(folder)


def picture(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    from TuckerSegLib.analysis.overlays import draw_overlays

    volume = image.Image(np.zeros((1, 3, 4, 5), np.float32), image.Geometry((3, 4, 5), np.eye(4)))
    draw_overlays(volume, {"a": np.zeros((3, 4, 5), np.uint8)}, {}, folder / "overlays.png")


WRITERS = {
    "labels": (labels, ["labels.nii.gz"]),
    "segmentation": (lambda folder: labels(folder, "labels.seg.nrrd"), ["labels.seg.nrrd"]),
    "table": (lambda folder: write_text(folder / "table.csv", "a,b\n"), ["table.csv"]),
    "model": (tensors, ["model.tuckerseg"]),
    "cache": (cache_entry, [f"{'a' * 32}.tuckerseg"]),
    "memo": (memo, ["sources.json"]),
    "measurements": (lambda folder: Measurements(Cache(folder)).add_patch_seconds("a", 1, 2.0), ["measurements.json"]),
    "compiled": (lambda folder: write_entry(folder, {"a": "b"}, b"c", print), None),
    "export of files": (export_of_files, ["net.json", "net.bin", "net.xml"]),
    "export of a folder": (export_of_a_folder, ["net"]),
    "export over another": (export_over_another, ["net", "net"]),
    "picture": (picture, ["overlays.png"]),
}


@POSIX
@pytest.mark.parametrize("writer", WRITERS)
def test_content_is_synced_before_the_name_and_the_name_after(writer, tmp_path, disk):
    write, names = WRITERS[writer]
    write(tmp_path)
    assert disk.renamed == names if names else len(disk.renamed) == 1
    assert disk.faults() == []
    assert list(tmp_path.rglob(".tuckerseg-*")) == []


@POSIX
@pytest.mark.parametrize("missing", ["sync_tree", "sync_folder"])
def test_a_sync_that_is_left_out_is_seen(missing, tmp_path, disk, monkeypatch):
    monkeypatch.setattr(atomic_writes, missing, lambda path: None)
    write_text(tmp_path / "a.txt", "text")
    assert len(disk.faults()) == 1


@pytest.mark.parametrize("writer", WRITERS)
def test_files_have_the_permissions_of_any_new_file(writer, tmp_path):
    if os.name == "nt":
        pytest.skip("permissions are those of the folder")
    before = os.umask(0o027)
    try:
        WRITERS[writer][0](tmp_path)
    finally:
        os.umask(before)
    modes = {oct(stat.S_IMODE(path.stat().st_mode)) for path in tmp_path.rglob("*") if path.is_file()}
    assert modes == {"0o640"}
    assert {oct(stat.S_IMODE(path.stat().st_mode)) for path in tmp_path.rglob("*") if path.is_dir()} <= {"0o750"}


def test_a_symbolic_link_is_replaced_and_what_it_points_to_stays(tmp_path):
    target, link = tmp_path / "target.txt", tmp_path / "link.txt"
    target.write_text("old")
    link.symlink_to(target)
    write_text(link, "new")
    assert (target.read_text(), link.read_text(), link.is_symlink()) == ("old", "new", False)


@pytest.mark.skipif(os.name == "nt", reason="pipes have no names there")
def test_a_device_or_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="pipe cannot be written: it is a device or a pipe"):
        write_text(tmp_path / "pipe", "text")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    with pytest.raises(OutputError, match="it is a folder"):
        write_text(tmp_path, "text")


def test_a_full_disk_is_told_with_what_is_free_and_what_is_needed(tmp_path, monkeypatch):
    (tmp_path / "a.bin").write_text("old")
    with (
        pytest.raises(OutputError, match=r"a\.bin cannot be written: the disk is full, \d+ MB are free in .*; 3 MB"),
        written_whole(tmp_path / "a.bin", 3_000_000) as beside,
    ):
        beside.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert (tmp_path / "a.bin").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_safetensors_own_words_for_a_full_disk_are_understood(tmp_path, monkeypatch):
    import torch
    from safetensors import SafetensorError

    def full(*_, **__):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OutputError, match="the disk is full"):
        tensor_file.write_tensors(tmp_path / "a.tuckerseg", {"a": torch.ones(2)}, {})


def test_a_missing_folder_is_named(tmp_path):
    for write in (lambda: write_text(tmp_path / "none" / "a.txt", "text"), lambda: tensors(tmp_path / "none")):
        with pytest.raises(OutputError, match="the folder .*none does not exist"):
            write()


def test_what_is_removed_is_gone_at_once(tmp_path, disk):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("a")
    remove_at_once(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_several_files_are_moved_so_that_the_one_that_counts_never_lies_beside_newer_ones(tmp_path, monkeypatch):
    replace, seen = os.replace, []

    def watched(source, target):
        replace(source, target)
        seen.append({path.name: path.read_text() for path in tmp_path.iterdir() if path.is_file()})

    for name in ("net.bin", "net.xml"):
        (tmp_path / name).write_text("old")
    with temporary_folder(tmp_path) as beside:
        (beside / NEW).mkdir()
        for name in ("net.bin", "net.xml"):
            (beside / NEW / name).write_text("new")
        monkeypatch.setattr(os, "replace", watched)
        move_all(beside, ["net.bin", "net.xml"])
    assert seen == [{"net.bin": "old"}, {"net.bin": "new"}, {"net.bin": "new", "net.xml": "new"}]


def test_a_folder_that_cannot_be_moved_leaves_the_one_before(tmp_path, monkeypatch):
    export_of_a_folder(tmp_path)
    before = json.dumps(sorted(path.name for path in tmp_path.rglob("*")))
    replace, failures = os.replace, iter([OSError(errno.EIO, os.strerror(errno.EIO))])

    def failing_once(source, target):
        if Path(target).name == "net" and (error := next(failures, None)):
            raise error
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing_once)
    with pytest.raises(OutputError, match="net cannot be written"):
        export_of_a_folder(tmp_path)
    assert json.dumps(sorted(path.name for path in tmp_path.rglob("*"))) == before
