"""Segment and Cancel, by clicking the real buttons and looking at the real scene."""

from __future__ import annotations

import os
import signal

import numpy as np

TIMEOUT_S = 600


def nodes(kind="vtkMRMLSegmentationNode"):
    import slicer

    return slicer.util.getNodesByClass(kind)


def scene_ids():
    import slicer

    return {slicer.mrmlScene.GetNthNode(number).GetID() for number in range(slicer.mrmlScene.GetNumberOfNodes())}


def finish(panel, until):
    until(lambda: not panel.running.running, TIMEOUT_S, lambda: panel.ui.statusLabel.text)


def run_the_network(panel, until):
    until(lambda: "Running the network" in panel.ui.statusLabel.text, TIMEOUT_S, lambda: panel.ui.statusLabel.text)


def files_of(panel):
    folder = panel.session.worker.folder
    return [file for file in folder.rglob("*") if not file.name.startswith("volume-")] if folder.exists() else []


def test_a_click_on_segment_brings_structures_and_statistics(ready, until):
    ready.ui.applyButton.click()
    assert ready.ui.applyButton.text == "Cancel"
    finish(ready, until)
    (node,) = nodes()
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() > 0
    assert segmentation.GetNthSegment(0).GetName() in ("Spleen", "Right kidney", "Left kidney", "Liver", "Aorta")
    assert ready.context.parameters.outputSegmentation is node
    assert ready.ui.applyButton.text == "Segment"
    assert "structures in" in ready.ui.statusLabel.text
    assert len(nodes("vtkMRMLTableNode")) == 2
    assert files_of(ready) == []


def test_warnings_about_the_volume_stand_before_the_results(ready, until):
    import slicer

    volume = ready.context.parameters.inputVolume
    array = slicer.util.arrayFromVolume(volume)
    array[...] = np.clip(array, 0, 255)
    slicer.util.arrayFromVolumeModified(volume)
    ready.ui.applyButton.click()
    finish(ready, until)
    *warnings, summary = ready.ui.resultsLabel.text.splitlines()
    assert all("Warning: " in line and "color" in line for line in warnings)
    assert any("8-bit gray values" in line for line in warnings)
    assert "structures in" in summary and "color" not in summary
    assert f"Warnings: {len(warnings)}, see Results." in ready.ui.statusLabel.text
    assert "8-bit gray values" in ready.ui.logText.plainText


def test_the_scene_holds_the_same_labels_as_the_command_line(ready, until, small_model, tmp_path):
    import slicer

    from TuckerSegLib import Job, run_job

    ready.ui.applyButton.click()
    finish(ready, until)
    volume_node = ready.context.parameters.inputVolume
    path = tmp_path / "ct.nrrd"
    assert slicer.util.saveNode(volume_node, str(path))
    expected = run_job(Job(images=(str(path),), model=small_model)).labels
    (node,) = nodes()
    shown = np.zeros_like(expected)
    segmentation = node.GetSegmentation()
    for number in range(segmentation.GetNumberOfSegments()):
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentation.GetNthSegmentID(number), volume_node)
        shown[mask > 0] = segmentation.GetNthSegment(number).GetLabelValue()
    np.testing.assert_array_equal(shown, expected)


def test_cancel_leaves_the_scene_and_a_rerun_works(ready, until, slow_model, make_ct):
    ready.context.change(inputVolume=make_ct((96, 96, 96)), model=slow_model)
    before = scene_ids()
    ready.ui.applyButton.click()
    run_the_network(ready, until)
    ready.ui.applyButton.click()
    finish(ready, until)
    assert scene_ids() == before
    assert "Cancelled" in ready.ui.statusLabel.text
    assert files_of(ready) == []
    ready.context.change(inputVolume=make_ct(), recommendedStep=False, stepFraction=1.0)
    ready.ui.applyButton.click()
    finish(ready, until)
    assert len(nodes()) == 1, ready.ui.statusLabel.text


def test_a_crash_of_the_worker_is_told_and_a_rerun_works(ready, until, slow_model, small_model, make_ct):
    ready.context.change(inputVolume=make_ct((96, 96, 96)), model=slow_model)
    before = scene_ids()
    ready.ui.applyButton.click()
    run_the_network(ready, until)
    os.kill(ready.session.worker.pid, signal.SIGSEGV)
    finish(ready, until)
    assert "ended unexpectedly" in ready.ui.statusLabel.text
    assert scene_ids() == before
    ready.context.change(inputVolume=make_ct(), model=small_model)
    ready.ui.applyButton.click()
    finish(ready, until)
    assert len(nodes()) == 1, ready.ui.statusLabel.text


def test_a_worker_that_is_killed_is_told_so_and_what_helps_where_it_was_memory(ready, until, slow_model, make_ct):
    ready.context.change(inputVolume=make_ct((96, 96, 96)), model=slow_model)
    ready.ui.applyButton.click()
    run_the_network(ready, until)
    os.kill(ready.session.worker.pid, signal.SIGKILL)
    finish(ready, until)
    assert "was killed, by the system or by another program" in ready.ui.statusLabel.text
    assert "compress more" in ready.ui.statusLabel.text


def test_only_chosen_structures_are_loaded(ready, until):
    until(lambda: ready.context.choice.model_facts is not None, TIMEOUT_S)
    ready.context.change(structuresChoice="selected", selectedStructures=["liver", "aorta"])
    ready.ui.applyButton.click()
    finish(ready, until)
    (node,) = nodes()
    segmentation = node.GetSegmentation()
    names = {segmentation.GetNthSegment(number).GetName() for number in range(segmentation.GetNumberOfSegments())}
    assert names
    assert names <= {"Liver", "Aorta"}


def test_an_existing_segmentation_is_replaced_only_by_a_finished_run(ready, until, slow_model, make_ct):
    ready.ui.applyButton.click()
    finish(ready, until)
    (node,) = nodes()
    count = node.GetSegmentation().GetNumberOfSegments()
    ready.context.change(inputVolume=make_ct((96, 96, 96)), model=slow_model)
    ready.ui.applyButton.click()
    run_the_network(ready, until)
    ready.ui.applyButton.click()
    finish(ready, until)
    assert nodes() == [node]
    assert node.GetSegmentation().GetNumberOfSegments() == count


def test_removing_the_volume_during_a_run_loses_nothing(ready, until, slow_model, make_ct):
    import slicer

    volume_node = make_ct((64, 64, 64))
    ready.context.change(inputVolume=volume_node, model=slow_model, recommendedStep=False, stepFraction=1.0)
    ready.ui.applyButton.click()
    run_the_network(ready, until)
    slicer.mrmlScene.RemoveNode(volume_node)
    finish(ready, until)
    assert "removed" in ready.ui.statusLabel.text
    assert nodes() == []


def test_closing_the_scene_ends_the_run(ready, until, slow_model, make_ct):
    import slicer

    ready.context.change(inputVolume=make_ct((96, 96, 96)), model=slow_model)
    ready.ui.applyButton.click()
    run_the_network(ready, until)
    slicer.mrmlScene.Clear(0)
    finish(ready, until)
    assert nodes() == []
    assert ready.context.parameters.inputVolume is None
    assert not ready.ui.applyButton.enabled


def test_the_interface_goes_on_during_a_run(ready, until, make_ct):
    import qt

    ready.context.change(inputVolume=make_ct((96, 128, 128), name="large", spacing_mm=1.5), outputGrid="nearest")
    shown, timer = [], qt.QTimer()
    timer.connect("timeout()", lambda: shown.append(ready.ui.statusLabel.text))
    timer.start(5)
    ready.ui.applyButton.click()
    finish(ready, until)
    timer.stop()
    assert len(nodes()) == 1, ready.ui.statusLabel.text
    assert len(set(shown)) > 3, "events of the interface came between the stages of the run"
