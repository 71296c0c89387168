"""The folder through which images of patients pass: held while the session lives, removed after it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from TuckerSegLib.files.leftovers import leftovers


@pytest.fixture
def workspace(slicer_app, tmp_path, monkeypatch):
    import slicer

    from TuckerSegLib.slicer_bridge.client import workspace

    monkeypatch.setattr(slicer.app, "_tmp", str(tmp_path))
    return workspace


@pytest.mark.skipif(os.name == "nt", reason="needs a signal that nobody can catch, and fork")
def test_what_a_killed_session_left_is_removed_by_the_next_and_that_of_a_living_one_stays(workspace, tmp_path):
    mine = workspace.make_workspace()
    (mine / "volume.npy").write_bytes(b"voxels")
    pid = os.fork()
    if pid == 0:
        (workspace.make_workspace() / "volume.npy").write_bytes(b"voxels")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert sorted(found.owner for found in leftovers(tmp_path)) == ["ended", "living"]
    other = workspace.make_workspace()
    assert [found.owner for found in leftovers(tmp_path)] == ["living", "living"]
    assert (mine / "volume.npy").exists()
    for folder in (mine, other):
        workspace.remove_workspace(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_a_worker_removed_is_made_again_and_is_still_held(workspace, tmp_path):
    folder = workspace.make_workspace()
    folder.rmdir()
    workspace.keep_workspace(folder)
    (folder / "volume.npy").write_bytes(b"voxels")
    assert [found.owner for found in leftovers(tmp_path)] == ["living"]
    workspace.empty_workspace(folder)
    assert list(folder.iterdir()) == []
    workspace.remove_workspace(folder)
    assert list(tmp_path.iterdir()) == []


def test_two_transfers_of_one_volume_do_not_write_into_one_file(workspace, make_ct, tmp_path):
    from TuckerSegLib.slicer_bridge.scene.volumes import VolumeWriter

    node, path = make_ct(), str(tmp_path / "volume.npy")
    first, second = VolumeWriter(node, path), VolumeWriter(node, path)
    assert second.write_for(-1.0) is False
    while not first.write_for(1.0):
        pass
    content = Path(path).read_bytes()
    while not second.write_for(1.0):
        pass
    assert Path(path).read_bytes() == content and [each.name for each in tmp_path.iterdir()] == ["volume.npy"]


def test_a_transfer_that_is_given_up_leaves_no_half_written_file(slicer_app, make_ct, tmp_path):
    from TuckerSegLib.slicer_bridge.client.volume_transfer import VolumeTransfer

    transfer = VolumeTransfer(tmp_path, print, print)
    transfer.start(make_ct())
    transfer._writer.write_for(-1.0)
    assert [each.suffix for each in tmp_path.iterdir()] == [".part"]
    transfer.stop()
    assert list(tmp_path.iterdir()) == []
