"""A full disk is told as such, with the folder, what is needed and what is free, whichever library was writing.

What the libraries do is real: their file is a link to the device that is always full. Only what is free is made up.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from TuckerSegLib.errors import DiskFullError, TuckerSegError
from TuckerSegLib.files import full_disk
from TuckerSegLib.files.atomic_writes import temporary_folder, written_whole
from TuckerSegLib.files.full_disk import with_full_disk_named

FULL_DEVICE = Path("/dev/full")
BYTES = 3_000_000
FREE = 12_345

pytestmark = pytest.mark.skipif(not FULL_DEVICE.exists(), reason="needs /dev/full, which Linux has")


def with_numpy(path):
    np.save(path, np.zeros(BYTES, np.uint8))


def with_torch(path):
    torch.save({"weights": torch.zeros(BYTES)}, path)


def with_python(path):
    path.write_bytes(bytes(BYTES))


def with_openvino(path):
    openvino = pytest.importorskip("openvino")
    layer = torch.nn.Conv3d(16, 16, 3)
    openvino.save_model(openvino.convert_model(layer, example_input=torch.zeros(1, 16, 4, 4, 4)), path)


def with_matplotlib(path):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    Figure().savefig(path, format="png")


@pytest.fixture
def nothing_free(monkeypatch):
    monkeypatch.setattr(full_disk, "free_bytes", lambda folder: FREE)


@pytest.mark.parametrize("writer", [with_numpy, with_torch, with_python, with_openvino, with_matplotlib])
def test_a_full_disk_is_told_whichever_library_writes(writer, tmp_path, nothing_free):
    path = tmp_path / f"result{'.xml' if writer is with_openvino else '.npy'}"
    with pytest.raises(DiskFullError) as told_of, written_whole(path, BYTES) as beside:
        for name in (beside, beside.with_suffix(".bin")):
            name.symlink_to(FULL_DEVICE)
        writer(beside)
    assert f"the disk is full, 0 MB are free in {tmp_path}; 3 MB are needed" in str(told_of.value)
    assert list(tmp_path.iterdir()) == []


def test_other_failures_of_libraries_are_none_of_a_full_disk(tmp_path):
    with pytest.raises(RuntimeError, match="unexpected pos"), written_whole(tmp_path / "a.pth"):
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_folders_that_cannot_be_made_and_files_in_them_are_told(number, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(number, os.strerror(number))

    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)), temporary_folder(tmp_path) as folder:
        raise RuntimeError("writing: No space left on device (os error 28)")
    assert not folder.exists()
    monkeypatch.setattr(os, "mkdir", full)
    with pytest.raises(DiskFullError, match="the disk is full"), written_whole(tmp_path / "a.bin"):
        pass


def test_whoever_shows_errors_tells_of_a_full_disk_that_nobody_told_of(tmp_path):
    try:
        try:
            (tmp_path / "pixels.dcm").symlink_to(FULL_DEVICE)
            (tmp_path / "pixels.dcm").write_bytes(bytes(BYTES))
        except OSError as error:
            raise ValueError("cannot be decoded") from error
    except ValueError as error:
        words = with_full_disk_named(error)
    assert isinstance(words, DiskFullError)
    assert str(words).startswith("The disk is full, ") and "MB are free in " in str(words)
    own, other = TuckerSegError("The disk is full already."), ValueError("wrong")
    assert with_full_disk_named(own) is own and with_full_disk_named(other) is other


def test_the_command_line_and_the_worker_tell_of_it(tmp_path, monkeypatch, capsys):
    from TuckerSegLib.cli.commands import devices
    from TuckerSegLib.cli.main import main
    from TuckerSegLib.worker.process import RequestServer

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "x.npy"))

    monkeypatch.setattr(devices, "devices", full)
    assert main(["devices"]) == 1
    assert "The disk is full, " in capsys.readouterr().err
    events = []
    worker = object.__new__(RequestServer)
    worker._tell = lambda number, event, **fields: events.append(fields)
    worker._handle = full
    from TuckerSegLib.worker.lanes import Work

    worker._do(Work({"request": "segment", "id": 1}))
    assert str(tmp_path) in events[0]["message"] and "The disk is full" in events[0]["message"]


def test_labels_that_the_worker_cannot_write_and_downloads_are_told(tmp_path, monkeypatch):
    from TuckerSegLib.download.part_file import PartFile
    from TuckerSegLib.worker.handlers import write_box

    def short(*_, **__):
        raise OSError("3000000 requested and 1048448 written")

    monkeypatch.setattr(full_disk, "free_bytes", lambda folder: FREE)
    monkeypatch.setattr("TuckerSegLib.worker.handlers.np.save", short)
    with pytest.raises(DiskFullError, match=r"the disk is full, 0 MB are free in .*; 3 MB are needed"):
        write_box(np.ones((100, 100, 300), np.uint8), tmp_path / "labels.npy")
    part = PartFile.__new__(PartFile)
    part.path, part.total, part.size = tmp_path / "a.part", 5_000_000, 1_000_000
    words = str(part._failure(OSError(errno.ENOSPC, "No space left on device")))
    assert "the disk is full" in words and "4 MB are needed" in words and "what came so far is kept" in words
