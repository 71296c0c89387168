"""A batch: one volume after the other, a table of what was done, and nothing lost by a failure or a cancel."""

from __future__ import annotations

import numpy as np
import pytest

STATE, STRUCTURES, RESULT = 1, 3, 4


def cells(panel, column):
    table = panel.ui.batchTable
    return [table.item(row, column).text() for row in range(table.rowCount)]


def finish(panel, until):
    until(lambda: not panel.batch.running, shown=lambda: panel.ui.batchNoteLabel.text)


@pytest.fixture
def three_volumes(scripted, make_ct):
    """The panel, and three volumes in the scene of which the first is chosen."""
    volumes = [make_ct(name=name, seed=seed) for seed, name in enumerate("ABC")]
    scripted.context.change(inputVolume=volumes[0])
    scripted.context.refresh()
    return scripted, volumes


@pytest.fixture
def answer(scripted, until):
    """A function that waits for a run of some number, and lets it end with a label of some size."""
    worker = scripted.session.worker

    def answer(number, size=2):
        until(lambda: len(worker.runs) == number, 30)
        labels = np.zeros((40, 44, 48), np.uint8)
        labels[2 : 2 + size, 2:4, 2:4] = 1
        worker.answer(labels)

    return answer


def test_every_volume_of_the_scene_gets_a_segmentation_of_its_own_and_a_failure_ends_nothing(
    three_volumes, answer, until
):
    from TuckerSegLib.slicer_bridge.scene.losses import volume_of

    panel, volumes = three_volumes
    worker = panel.session.worker
    panel.ui.batchButton.click()
    answer(1, 2)
    until(lambda: len(worker.runs) == 2, 30)
    assert cells(panel, STATE) == ["done", "running", "waiting"]
    assert panel.ui.statusLabel.text.startswith("Volume 2 of 3")
    worker.say(event="error", message="The volume is empty.", advice="Crop it.")
    answer(3, 4)
    finish(panel, until)
    assert cells(panel, 0) == ["A", "B", "C"]
    assert cells(panel, STATE) == ["done", "failed", "done"]
    assert cells(panel, STRUCTURES) == ["1", "", "1"]
    assert cells(panel, RESULT) == ["A segmentation", "The volume is empty. Crop it.", "C segmentation"]
    assert "2 of 3 are done. 1 failed" in panel.ui.batchNoteLabel.text
    panel.ui.batchTable.cellClicked.emit(1, 0)
    assert panel.ui.batchNoteLabel.text == "The volume is empty. Crop it."
    assert "The volume is empty." in panel.ui.logText.plainText
    nodes = [row.item.segmentation_node for row in panel.batch.batch.rows]
    assert [node and volume_of(node) for node in nodes] == [volumes[0], None, volumes[2]]
    assert panel.context.busy_with is None and panel.ui.applyButton.enabled


def test_cancel_ends_it_and_keeps_what_is_done(three_volumes, answer, until):
    import slicer

    panel, _ = three_volumes
    panel.ui.batchButton.click()
    assert panel.ui.batchButton.text == "Cancel"
    assert not panel.ui.applyButton.enabled
    answer(1)
    until(lambda: len(panel.session.worker.runs) == 2, 30)
    panel.ui.batchButton.click()
    finish(panel, until)
    assert cells(panel, STATE) == ["done", "cancelled", "cancelled"]
    assert len(panel.session.worker.runs) == 2
    assert [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")] == ["A segmentation"]
    assert panel.ui.batchNoteLabel.text == "Cancelled. 1 of 3 are done."
    assert panel.ui.batchButton.text == "Segment all" and panel.ui.batchButton.enabled


def test_a_volume_that_is_removed_meanwhile_or_has_no_voxels_fails_alone(three_volumes, answer, until):
    import slicer

    panel, volumes = three_volumes
    volumes[1].SetAndObserveImageData(None)
    panel.ui.batchButton.click()
    until(lambda: len(panel.session.worker.runs) == 1, 30)
    slicer.mrmlScene.RemoveNode(volumes[2])
    answer(1)
    finish(panel, until)
    assert cells(panel, STATE) == ["done", "failed", "failed"]
    assert "no voxels" in cells(panel, RESULT)[1] and "removed" in cells(panel, RESULT)[2]


def test_another_batch_replaces_no_segmentation(three_volumes, answer, until):
    import slicer

    panel, _ = three_volumes
    for first in (1, 4):
        panel.ui.batchButton.click()
        for number in range(first, first + 3):
            answer(number)
        finish(panel, until)
    assert len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) == 6


def test_a_row_shows_its_volume_with_its_result_alone(three_volumes, answer, until):
    import slicer

    panel, volumes = three_volumes
    panel.ui.batchButton.click()
    for number in (1, 2, 3):
        answer(number)
    finish(panel, until)
    nodes = [row.item.segmentation_node for row in panel.batch.batch.rows]
    assert [bool(node.GetDisplayVisibility()) for node in nodes] == [True, False, False]
    panel.ui.batchTable.cellClicked.emit(1, 0)
    assert [bool(node.GetDisplayVisibility()) for node in nodes] == [False, True, False]
    assert panel.context.parameters.inputVolume is volumes[1]
    assert panel.context.parameters.outputSegmentation is nodes[1]
    views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert {view.GetBackgroundVolumeID() for view in views} == {volumes[1].GetID()}


def test_closing_the_scene_ends_it(three_volumes, answer, until):
    import slicer

    panel, _ = three_volumes
    panel.ui.batchButton.click()
    answer(1)
    until(lambda: len(panel.session.worker.runs) == 2, 30)
    slicer.mrmlScene.Clear(0)
    until(lambda: panel.context.busy_with is None, 30)
    assert len(panel.session.worker.runs) == 2
    assert panel.batch.batch is None and panel.ui.batchTable.rowCount == 0, "no patient of it is listed any more"
    assert panel.ui.batchNoteLabel.text == ""


def test_a_scene_that_is_closed_takes_the_list_of_a_batch_that_is_done(three_volumes, answer, until):
    import slicer

    panel, _ = three_volumes
    panel.ui.batchButton.click()
    for number in (1, 2, 3):
        answer(number)
    finish(panel, until)
    slicer.mrmlScene.Clear(0)
    assert panel.batch.batch is None and panel.ui.batchTable.rowCount == 0
    assert panel.ui.batchNoteLabel.text == ""


def test_it_goes_on_while_a_scene_is_read(three_volumes, answer, until):
    panel, _ = three_volumes
    panel.ui.batchButton.click()
    panel.pause()
    for number in (1, 2, 3):
        answer(number)
    finish(panel, until)
    assert cells(panel, STATE) == ["done"] * 3
    nodes = [row.item.segmentation_node for row in panel.batch.batch.rows]
    assert all(node.GetDisplayVisibility() for node in nodes), "nothing is chosen that would hide them"


@pytest.fixture
def listing(scripted, make_ct, tmp_path, monkeypatch):
    """The panel while the worker looks for the images of a folder, and a function that sends the worker's answer."""
    scripted.context.change(inputVolume=make_ct())
    scripted.context.refresh()
    asked, request = [], scripted.session.worker.request

    def spy(kind, on_event, **fields):
        if kind == "list_images":
            asked.append(on_event)
        return request(kind, on_event, **fields)

    monkeypatch.setattr(scripted.session.worker, "request", spy)
    ui = scripted.ui
    ui.batchSourceComboBox.currentIndex = 1
    ui.batchFolderEdit.text, ui.batchOutputEdit.text = str(tmp_path / "cts"), str(tmp_path / "results")
    ui.batchButton.click()
    assert ui.batchNoteLabel.text == "Looking for images…" and not ui.applyButton.enabled
    return scripted, lambda **event: asked[0]({"id": 1, **event})


def check_idle(panel):
    panel.context.refresh()
    assert panel.context.busy_with is None and not panel.batch.running
    assert panel.ui.batchNoteLabel.text in ("", "Cancelled.")


def test_closing_the_scene_ends_the_look_for_images(listing, make_ct):
    import slicer

    panel, answer = listing
    slicer.mrmlScene.Clear(0)
    check_idle(panel)
    answer(event="result", images=[{"path": "/a.nii.gz", "name": "a"}])
    check_idle(panel)
    panel.context.change(inputVolume=make_ct())
    assert panel.ui.applyButton.enabled


@pytest.mark.parametrize("kind", ["cancelled", "dropped"])
def test_a_worker_that_answers_no_more_ends_the_look_for_images(listing, kind):
    panel, answer = listing
    answer(event=kind)
    check_idle(panel)
    assert panel.ui.applyButton.enabled


def test_images_that_are_found_while_a_scene_is_read_are_segmented(listing):
    panel, answer = listing
    panel.pause()
    answer(event="result", images=[{"path": "/a.nii.gz", "name": "a"}])
    assert panel.batch.running and cells(panel, 0) == ["a"]


def test_labels_of_a_folder_are_those_of_the_command_line_and_what_is_there_is_kept(
    ready, until, small_model, make_ct, tmp_path
):
    import slicer

    from TuckerSegLib.jobs.run import run_job
    from TuckerSegLib.records.job import Job, steps_at

    folder, output = tmp_path / "cts", tmp_path / "results"
    folder.mkdir()
    for seed, name in enumerate(("a", "c")):
        assert slicer.util.saveNode(make_ct(seed=seed), str(folder / f"{name}.nii.gz"))
    (folder / "b.nii.gz").write_bytes(b"no NIfTI")
    ui = ready.ui
    ui.batchSourceComboBox.currentIndex = 1
    ui.batchSourceComboBox.activated.emit(1)
    ui.batchFormatComboBox.currentIndex = 1
    assert not ui.batchButton.enabled and "Choose the folder" in ui.batchProblemLabel.text
    ui.batchFolderEdit.text = ui.batchOutputEdit.text = str(folder)
    assert "a folder of their own" in ui.batchProblemLabel.text
    ui.batchOutputEdit.text = str(output)
    ready.context.change(rankRatio=0.5)
    ui.batchButton.click()
    finish(ready, until)
    assert cells(ready, 0) == ["a", "b", "c"]
    assert cells(ready, STATE) == ["done", "failed", "done"]
    assert "b.nii.gz" in cells(ready, RESULT)[1]
    assert sorted(path.name for path in output.glob("*.nii.gz")) == ["a.nii.gz", "c.nii.gz"]
    expected = tmp_path / "expected.nii.gz"
    job = Job(images=(str(folder / "a.nii.gz"),), output=str(expected), model=small_model, steps=steps_at(0.5))
    run_job(job)
    volumes = [slicer.util.loadVolume(str(path)) for path in (expected, output / "a.nii.gz")]
    in_process, in_batch = map(slicer.util.arrayFromVolume, volumes)
    assert in_process.any()
    np.testing.assert_array_equal(in_process, in_batch)
    (output / "a.nii.gz").write_bytes(b"somebody's own")
    (output / "c.nii.gz").unlink()
    ui.batchButton.click()
    finish(ready, until)
    assert cells(ready, STATE) == ["skipped", "failed", "done"]
    assert (output / "a.nii.gz").read_bytes() == b"somebody's own"
    assert "1 were not segmented: a file of that name exists" in ui.batchNoteLabel.text
    ui.batchReplaceCheckBox.checked = True
    ui.batchButton.click()
    finish(ready, until)
    assert cells(ready, STATE) == ["done", "failed", "done"]
    assert (output / "a.nii.gz").read_bytes() != b"somebody's own"


def test_a_folder_without_images_is_told(ready, until, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    ui = ready.ui
    ui.batchSourceComboBox.currentIndex = 1
    ui.batchFolderEdit.text, ui.batchOutputEdit.text = str(empty), str(tmp_path / "results")
    ui.batchButton.click()
    finish(ready, until)
    assert "holds no image" in ui.batchNoteLabel.text
    assert ready.batch.batch is None and ready.context.busy_with is None
