"""Whatever goes wrong, and when: scene, files, processes and buttons are as before, and the next run works."""

from __future__ import annotations

import errno
import os
import signal
import sys

import numpy as np
import pytest

from Testing.gui.moments import (
    begin_handing_over,
    belongings,
    belongings_of_new_session,
    check_next_run,
    check_unchanged,
    finish,
    run,
)

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes in /proc")
ENDED = "ended unexpectedly"
KILLED = "was killed"


@pytest.mark.parametrize(
    ("moment", "what", "words"),
    [
        ("queued", "die", KILLED),
        ("read", "die", KILLED),
        ("load", "fail", "RuntimeError: something broke"),
        ("calibrate", "die", KILLED),
        ("compress", "die", KILLED),
        ("prepare", "fail", ENDED),
        ("network", "die", KILLED),
        ("finish", "die", KILLED),
        ("write", "die", KILLED),
    ],
)
def test_a_worker_that_dies_at_a_stage(played, play, until, moment, what, words):
    before = belongings(played)
    play.script(moment, what)
    run(played, until)
    assert "reached" in play.notes
    assert words in played.ui.statusLabel.text
    check_unchanged(before, played, until)
    check_next_run(played, play, until)


@pytest.mark.each_release
def test_a_python_that_cannot_be_started(played, play, until, tmp_path):
    played.session.use_python(str(tmp_path / "python"))
    before = belongings_of_new_session(played)
    run(played, until)
    assert "could not be started" in played.ui.statusLabel.text
    check_unchanged(before, played, until)
    note = played.ui.modelNoteLabel  # the model is read again after a run
    until(lambda: "could not be started" in note.text and not played.session.warm, 30)
    (tmp_path / "python").symlink_to(play.python)
    check_next_run(played, play, until)


@pytest.mark.parametrize("what", ["die", "fail"])
def test_a_worker_that_dies_while_it_starts(played, play, until, what):
    before = belongings_of_new_session(played)
    play.script("start", what)
    run(played, until)
    assert (KILLED if what == "die" else "something broke") in played.ui.statusLabel.text
    check_unchanged(before, played, until)
    check_next_run(played, play, until)


def kill_worker(panel):
    """Kill it, and wait until it is dead; Qt does not look meanwhile."""
    os.kill(panel.session.worker.pid, signal.SIGKILL)
    os.waitid(os.P_PID, panel.session.worker.pid, os.WEXITED | os.WNOWAIT)


def test_a_worker_that_dies_while_idle_is_no_fault_of_the_run(played, play, until):
    before = belongings(played)
    kill_worker(played)
    check_unchanged(before, played, until)
    check_next_run(played, play, until)


def test_a_worker_that_dies_while_the_volume_is_handed_over_is_no_fault_of_the_run(
    played, play, until, slow_handing_over
):
    import slicer

    begin_handing_over(played, until)
    kill_worker(played)
    finish(played, until)
    assert len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) == 1
    check_next_run(played, play, until)


class FullDisk:
    """A file that takes a little, and no more."""

    def __init__(self, file, room=500):
        self._file, self._room = file, room

    def write(self, data):
        if self._file.tell() + len(data) > self._room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file.write(data)

    def close(self):
        self._file.close()


def test_a_disk_that_is_full_while_the_volume_is_handed_over(played, play, until, slow_handing_over, monkeypatch):
    from TuckerSegLib.slicer_bridge.scene import volumes

    before = belongings(played)
    opened = volumes.Path.open
    with monkeypatch.context() as patch:
        patch.setattr(volumes.Path, "open", lambda path, *modes: FullDisk(opened(path, *modes)))
        run(played, until)
    assert "the disk is full" in played.ui.statusLabel.text
    check_unchanged(before, played, until)
    check_next_run(played, play, until)


FULL = {"event": "error", "kind": "OutputError", "message": "The disk is full (/x).", "advice": "Free some."}


@pytest.mark.parametrize(
    ("moment", "line", "words"),
    [
        ("write", FULL, "The disk is full (/x). Free some."),
        ("network", {"event": "error", "message": "It broke."}, "It broke."),
        ("network", {"event": "progress", "stage": 3}, "cannot be used"),
        ("finish", {"event": "result"}, "KeyError"),
        ("finish", {"event": "result", "statistics": [], "labels": None}, "RunStatistics should be"),
    ],
)
def test_an_error_event_or_one_that_is_nonsense(played, play, until, moment, line, words):
    before = belongings(played)
    play.script(moment, "end", [line])
    run(played, until)
    assert words in played.ui.statusLabel.text
    check_unchanged(before, played, until)
    check_next_run(played, play, until)


def damaged(play, tmp_path, how):
    """A file of labels, or a place of it, that do not fit; gives fields of the script."""
    path = tmp_path / "damaged.npy"
    if how == "cut off":
        path.write_bytes((tmp_path / "played.npy").read_bytes()[:300])
        return {"labels": str(path)}
    if how in ("before its beginning", "behind its end"):
        first = -1 if how == "before its beginning" else 1
        return {"lower": [first] * 3, "upper": [first + 8] * 3}
    if how == "without a place":
        return {"lower": [4, 4]}
    arrays = {
        "larger": np.ones((9, 8, 8), np.uint8),
        "flat": np.ones((8, 8), np.uint8),
        "of fractions": np.full((8, 8, 8), 0.5),
        "of complex numbers": np.ones((8, 8, 8), np.complex64),
        "empty": np.ones((0, 8, 8), np.uint8),
    }
    np.save(path, arrays[how])
    return {"labels": str(path)}


ARRAYS = ("larger", "flat", "of fractions", "of complex numbers", "empty", "cut off")
WAYS = (*ARRAYS, "before its beginning", "behind its end", "without a place")


@pytest.mark.parametrize("how", WAYS)
def test_a_result_that_does_not_fit_the_volume(played, play, until, tmp_path, how):
    before = belongings(played)
    play.script(**damaged(play, tmp_path, how))
    run(played, until)
    assert ("BoxFile.lower" if how == "without a place" else "labels of the worker") in played.ui.statusLabel.text
    check_unchanged(before, played, until)
    check_next_run(played, play, until)


def test_labels_that_have_gone_before_they_are_taken_back(played, play, until):
    before = belongings(played)
    play.script("lost")
    run(played, until)
    assert "labels" in played.ui.statusLabel.text
    check_unchanged(before, played, until)
    check_next_run(played, play, until)


def no_memory(*arguments, **options):
    raise MemoryError("no memory is left")


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("TuckerSegLib.slicer_bridge.scene.segmentations", "_label_image"),
        ("TuckerSegLib.slicer_bridge.client.segmentation_run", "remember_contents"),
        ("TuckerSegLib.slicer_bridge.scene.statistics_nodes", "structure_columns"),  # the other table is there by then
    ],
)
def test_a_result_that_cannot_be_shown_leaves_no_new_segmentation(played, play, until, monkeypatch, place, name):
    before = belongings(played)
    with monkeypatch.context() as patch:
        patch.setattr(f"{place}.{name}", no_memory)
        run(played, until)
    assert "no memory is left" in played.ui.statusLabel.text
    check_unchanged(before, played, until)
    check_next_run(played, play, until)


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("TuckerSegLib.slicer_bridge.scene.segmentations", "_label_image"),
        ("TuckerSegLib.slicer_bridge.client.segmentation_run", "remember_contents"),
        ("TuckerSegLib.slicer_bridge.scene.statistics_nodes", "structure_columns"),
    ],
)
def test_a_result_that_cannot_be_shown_leaves_the_segmentation_that_it_was_meant_for(
    played, play, until, tmp_path, monkeypatch, place, name
):
    from TuckerSegLib.slicer_bridge.scene.contents import contents_of
    from TuckerSegLib.slicer_bridge.scene.statistics_nodes import COST_ROLE, table_of

    run(played, until)
    node = played.context.parameters.outputSegmentation
    identifier = node.GetSegmentation().GetNthSegmentID(0)
    node.GetDisplayNode().SetSegmentOpacity3D(identifier, 0.25)
    before, held, cells = belongings(played), contents_of(node), table_of(node, COST_ROLE).GetTable()
    rows, first = cells.GetNumberOfRows(), cells.GetValue(0, 1).ToString()
    labels = np.load(tmp_path / "played.npy")
    np.save(tmp_path / "others.npy", np.flip(labels, 0) if (np.flip(labels, 0) != labels).any() else 1 - labels)
    play.script(labels=str(tmp_path / "others.npy"))
    with monkeypatch.context() as patch:
        patch.setattr(f"{place}.{name}", no_memory)
        run(played, until)
    assert "no memory is left" in played.ui.statusLabel.text
    check_unchanged(before, played, until)
    assert contents_of(node) == held
    assert node.GetDisplayNode().GetSegmentOpacity3D(identifier) == 0.25
    assert (cells.GetNumberOfRows(), cells.GetValue(0, 1).ToString()) == (rows, first)
    play.script()
    check_next_run(played, play, until)


def remove(node):
    import slicer

    slicer.mrmlScene.RemoveNode(node)


def empty(node):
    node.SetAndObserveImageData(None)


def change_shape(node):
    import slicer

    slicer.util.updateVolumeFromArray(node, np.zeros((4, 8, 8), np.int16))


@pytest.mark.parametrize("how", [remove, empty, change_shape])
@pytest.mark.parametrize("moment", ["hand over", "network"])
def test_a_volume_that_goes_or_is_changed_during_the_run(played, play, until, make_ct, slow_handing_over, how, moment):
    if moment == "network":
        play.script("network", "pause")
    begin_handing_over(played, until)
    if moment == "network":
        until(lambda: "reached" in play.notes, 30)
    how(played.context.parameters.inputVolume)
    before = belongings(played)
    play.script()
    finish(played, until)
    assert "nothing was loaded" in played.ui.statusLabel.text
    check_unchanged(before, played, until, buttons=False)
    played.context.change(inputVolume=make_ct((8, 8, 8), name="another"))
    check_next_run(played, play, until)


@pytest.mark.parametrize("moment", ["hand over", "network"])
def test_the_segmentation_that_is_to_be_filled_goes_during_the_run(played, play, until, slow_handing_over, moment):
    import slicer

    run(played, until)
    play.script("network", "pause")
    slicer.util.arrayFromVolumeModified(played.context.parameters.inputVolume)  # it is handed over anew
    begin_handing_over(played, until)
    if moment == "network":
        until(lambda: "reached" in play.notes, 30)
    remove(played.context.parameters.outputSegmentation)
    play.script()
    finish(played, until)
    assert len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) == 1
    assert len(slicer.util.getNodesByClass("vtkMRMLTableNode")) == 2


@pytest.mark.parametrize("moment", ["hand over", "network"])
def test_the_scene_is_closed_during_the_run(played, play, until, make_ct, slow_handing_over, moment):
    import slicer

    play.script("network", "wait")
    begin_handing_over(played, until)
    if moment == "network":
        until(lambda: "reached" in play.notes, 30)
    slicer.mrmlScene.Clear(0)
    before = belongings(played)
    finish(played, until)
    check_unchanged(before, played, until, buttons=False)
    played.context.change(inputVolume=make_ct((8, 8, 8), name="another"))
    check_next_run(played, play, until)
