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
