"""Cancel at every moment: scene, files, processes and buttons are as before, and the next run works."""

from __future__ import annotations

import sys
from dataclasses import replace

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
from Testing.unit.records_of_a_run import STATISTICS
from TuckerSegLib.records.serialization import to_json
from TuckerSegLib.records.statistics import Structure

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes in /proc")
STAGES = ("read", "load", "calibrate", "compress", "prepare", "preprocess", "network", "finish", "write")


def begin(panel, play, until):
    panel.ui.applyButton.click()
    until(lambda: "reached" in play.notes, 30, lambda: panel.ui.statusLabel.text)


def cancel(panel, until):
    assert panel.ui.applyButton.text == "Cancel" and panel.ui.applyButton.enabled
    panel.ui.applyButton.click()
    finish(panel, until)
    assert panel.ui.statusLabel.text == "Cancelled. The scene is as it was."


@pytest.mark.parametrize("moment", ["queued", *STAGES])
def test_cancel_at_a_stage(played, play, until, moment):
    before, pid = belongings(played), played.session.worker.pid
    play.script(moment, "wait")
    begin(played, play, until)
    cancel(played, until)
    assert play.notes == ["reached", "cancelled"]
    check_unchanged(before, played, until)
    assert played.session.worker.pid == pid, "a worker that answers is not killed"
    check_next_run(played, play, until)


def test_another_cancel_while_the_first_is_on_its_way_changes_nothing(played, play, until, monkeypatch):
    before, lines = belongings(played), []
    play.script("network", "wait")
    begin(played, play, until)
    write = played.session.worker._write
    monkeypatch.setattr(played.session.worker, "_write", lambda line: (lines.append(line), write(line)))
    played.ui.applyButton.click()
    assert not played.ui.applyButton.enabled
    played.session.cancel()
    played.session.cancel()
    finish(played, until)
    assert sum('"cancel"' in line for line in lines) == 1
    check_unchanged(before, played, until)
    check_next_run(played, play, until)


@pytest.fixture
def short_grace(monkeypatch):
    """A worker that does not answer a cancel is killed soon; as the program has it, in 1.5 s."""
    from TuckerSegLib.slicer_bridge.client import worker_process

    assert worker_process.CANCEL_GRACE_MS == 1500
    monkeypatch.setattr(worker_process, "CANCEL_GRACE_MS", 50)


@pytest.mark.parametrize("moment", ["network", "write"])
def test_cancel_of_a_worker_that_does_not_answer(played, play, until, short_grace, moment):
    before, pid = belongings(played), played.session.worker.pid
    play.script(moment, "hang")
    begin(played, play, until)
    cancel(played, until)
    check_unchanged(before, played, until)
    assert played.session.worker.pid != pid
    check_next_run(played, play, until)


def test_cancel_before_the_worker_has_said_hello(played, play, until, short_grace):
    before = belongings_of_new_session(played)
    play.script("start", "hang")
    begin(played, play, until)
    assert played.session.worker.pid is None
    cancel(played, until)
    play.script()
    check_unchanged(before, played, until)
    check_next_run(played, play, until)


def test_cancel_while_the_volume_is_handed_over(played, play, until, slow_handing_over):
    before = belongings(played)
    begin_handing_over(played, until)
    cancel(played, until)
    check_unchanged(before, played, until)
    assert list(played.session.worker.folder.iterdir()) == []
    check_next_run(played, play, until)


def test_a_result_that_was_on_its_way_when_cancel_was_pressed_is_dropped(played, play, until):
    before = belongings(played)
    play.script("finish", "pause")
    begin(played, play, until)
    played.ui.applyButton.click()
    play.script()
    finish(played, until)
    assert "Cancelled" in played.ui.statusLabel.text
    check_unchanged(before, played, until)
    check_next_run(played, play, until)


def test_cancel_while_the_labels_are_taken_back(played, play, until):
    before, last = belongings(played), []

    def listen(event):
        last.append(event["event"])
        if event.get("stage") == "import":
            played.session.cancel()

    settings = played.context.choice.settings()
    played.session.start(played.context.parameters.inputVolume, None, settings, listen)
    until(lambda: last[-1] in ("result", "error", "cancelled"), 30)
    assert last[-1] == "cancelled"
    check_unchanged(before, played, until)
    check_next_run(played, play, until)


@pytest.fixture
def two_structures(play, tmp_path):
    """Fields of a script whose result has two structures."""
    labels = np.ones((8, 8, 8), np.uint8)
    labels[4:] = 2
    np.save(tmp_path / "two.npy", labels)
    structures = (Structure(1, "liver", 1.0), Structure(2, "spleen", 1.0))
    statistics = to_json(replace(STATISTICS, structures=structures, notes=()))
    return {"labels": str(tmp_path / "two.npy"), "statistics": statistics}


def test_cancel_while_surfaces_are_made(played, play, until, slicer_app, two_structures):
    from TuckerSegLib.slicer_bridge.scene.surfaces import has_surfaces

    play.script(**two_structures)
    run(played, until)
    until(lambda: not played.session.worker.busy, 30)
    before = belongings(played)
    button, node = played.ui.show3DButton, played.context.parameters.outputSegmentation
    button.click()
    until(lambda: has_surfaces(node), 30)
    assert played.surfaces.making.node is node, "the second is still to come"
    button.click()
    slicer_app.processEvents()
    assert not has_surfaces(node)
    check_unchanged(before, played, until)
    check_next_run(played, play, until)


@pytest.mark.parametrize("moment", ["hand over", "queued", "network"])
def test_cancel_between_frames_keeps_those_that_are_done_and_nothing_else(
    played, play, until, make_ct, make_proxy, slow_handing_over, moment
):
    import slicer

    proxy = make_proxy(shape=(8, 8, 8))
    played.context.change(inputVolume=proxy, allFrames=True)
    browser = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode")
    browser.SetSelectedItemNumber(2)
    before = belongings(played)
    play.script("write", "pause")
    begin(played, play, until)
    play.script(moment, "wait")  # what is done with the second frame
    until(lambda: "Frame 2" in played.ui.statusLabel.text, 30)
    if moment != "hand over":
        until(lambda: "reached" in play.notes, 30)
    played.ui.applyButton.click()
    finish(played, until)
    assert played.ui.statusLabel.text == "Cancelled. 1 of 3 frames are done and stay."
    assert browser.GetSelectedItemNumber() == 2
    now = belongings(played)
    left = [slicer.mrmlScene.GetNodeByID(name).GetNodeTagName() for name in set(now.nodes) - set(before.nodes)]
    assert sorted(left) == ["Segmentation", "SegmentationDisplay", "Sequence", "Table", "Table"]
    assert now.widgets["applyButton"] == before.widgets["applyButton"]
    assert set(now.processes) - {played.session.worker.pid} <= before.processes
    played.context.change(inputVolume=make_ct((8, 8, 8), name="another"))
    check_next_run(played, play, until, segmentations=2)


@pytest.mark.parametrize("pressed", ["dependenciesCheckButton", "dependenciesInstallButton"])
def test_the_scene_is_closed_during_check_or_install(played, play, until, make_ct, pressed):
    import slicer

    slicer.mrmlScene.Clear(0)
    before = belongings_of_new_session(played)
    play.script()
    getattr(played.ui, pressed).click()
    until(lambda: "checking" in play.notes, 30)
    slicer.mrmlScene.Clear(0)
    check_unchanged(before, played, until)
    played.context.change(inputVolume=make_ct((8, 8, 8)))
    check_next_run(played, play, until)


@pytest.mark.parametrize("moment", ["queued", "network", "rows"])
@pytest.mark.parametrize("what", ["wait", "hang"])
def test_cancel_during_compare(played, play, until, short_grace, moment, what):
    before = belongings(played)
    play.script(moment, what)
    played.ui.compareRanksEdit.text = "0.5"
    played.ui.compareButton.click()
    until(lambda: "reached" in play.notes, 30)
    assert played.ui.compareButton.text == "Cancel"
    played.ui.compareButton.click()
    until(lambda: not played.comparing.running, 30)
    assert played.ui.compareNoteLabel.text == "Cancelled. The scene is as it was."
    check_unchanged(before, played, until)
    check_next_run(played, play, until)


@pytest.mark.parametrize("source", ["scene", "folder"])
@pytest.mark.parametrize("what", ["wait", "hang"])
def test_cancel_during_the_batch(played, play, until, short_grace, tmp_path, source, what):
    folders = [tmp_path / "cts", tmp_path / "results"]
    ui = played.ui
    ui.batchSourceComboBox.currentIndex = int(source == "folder")
    ui.batchFolderEdit.text, ui.batchOutputEdit.text = map(str, folders)
    folders[0].mkdir()
    folders[1].mkdir()
    played.context.refresh()
    before = belongings(played, *folders)
    play.script("network", what, images=[{"path": str(folders[0] / f"{name}.nii.gz"), "name": name} for name in "ab"])
    ui.batchButton.click()
    until(lambda: "reached" in play.notes, 30, lambda: ui.batchNoteLabel.text)
    ui.batchButton.click()
    until(lambda: not played.batch.running, 30)
    assert ui.batchNoteLabel.text.startswith("Cancelled. 0 of ")
    check_unchanged(before, played, until, *folders)
    check_next_run(played, play, until)
