"""What was edited by hand in a segmentation is not lost unasked when Segment runs again."""

from __future__ import annotations

import sys

import numpy as np
import pytest

SHAPE = (12, 16, 8)


def labels_of(*values):
    labels = np.zeros(SHAPE, np.uint8)
    for value in values:
        labels[2 : 2 + 3 * value, 3:6, 2:5] = value
    return labels


def paint(node):
    import slicer

    first = node.GetSegmentation().GetNthSegmentID(0)
    array = slicer.util.arrayFromSegmentInternalBinaryLabelmap(node, first)
    array[0, 0, 0] = 1
    slicer.util.arrayFromSegmentInternalBinaryLabelmap(node, first)[...] = array


def erase(node):
    import slicer

    array = slicer.util.arrayFromSegmentInternalBinaryLabelmap(node, node.GetSegmentation().GetNthSegmentID(0))
    array[np.nonzero(array)[0][0]] = 0


def move(node):
    image = node.GetSegmentation().GetNthSegment(0).GetRepresentation("Binary labelmap")
    image.SetOrigin(1.0, 2.0, 3.0)


def add(node):
    node.GetSegmentation().AddEmptySegment("mine", "mine")


def remove(node):
    node.GetSegmentation().RemoveSegment(node.GetSegmentation().GetNthSegmentID(0))


def rename(node):
    node.GetSegmentation().GetNthSegment(0).SetName("tumor")


def recolor(node):
    node.GetSegmentation().GetNthSegment(0).SetColor(0.1, 0.9, 0.2)


def call_it_reviewed(node):
    node.GetSegmentation().GetNthSegment(0).SetTag("Segmentation.Status", "2")


EDITS = (paint, erase, move, add, remove, rename, recolor, call_it_reviewed)


def make_surfaces(node):
    node.CreateClosedSurfaceRepresentation()


def hide(node):
    node.GetDisplayNode().SetSegmentVisibility(node.GetSegmentation().GetNthSegmentID(0), False)
    node.GetDisplayNode().SetOpacity(0.5)


def name_node(node):
    node.SetName("another name")


def switch_names(node):
    from TuckerSegLib.slicer_bridge.scene.segmentations import rename_segments

    rename_segments(node, standard_names=False)


@pytest.fixture
def result(slicer_app, make_ct):
    """A segmentation as a run leaves it."""
    import slicer

    from TuckerSegLib.slicer_bridge.scene.contents import remember_contents
    from TuckerSegLib.slicer_bridge.scene.segmentations import FoundLabel, LabelBox, show_labels

    volume = make_ct(SHAPE)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "result")
    labels = [FoundLabel(1, "liver"), FoundLabel(2, "spleen")]
    show_labels(node, volume, LabelBox(labels_of(2, 1), (0, 0, 0)), labels)
    remember_contents(node)
    return node


def is_unedited(node):
    from TuckerSegLib.slicer_bridge.scene.contents import is_as_a_run_left_it

    return is_as_a_run_left_it(node)


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_an_edit_is_seen(result, edit):
    assert is_unedited(result)
    edit(result)
    assert not is_unedited(result)


@pytest.mark.parametrize("act", [make_surfaces, hide, name_node, switch_names], ids=lambda act: act.__name__)
def test_what_changes_no_segment_is_no_edit(result, act):
    act(result)
    assert is_unedited(result)


def test_switching_names_does_not_hide_an_edit(result):
    erase(result)
    switch_names(result)
    assert not is_unedited(result)


@pytest.mark.parametrize("edit", [None, erase])
def test_a_saved_scene_remembers_what_a_run_left(result, tmp_path, edit):
    import slicer

    if edit is not None:
        edit(result)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    loaded = slicer.util.getNode("result")
    assert loaded.GetSegmentation().GetNumberOfSegments() == 2
    assert is_unedited(loaded) == (edit is None)


@pytest.mark.parametrize("text", ["[", "3", '["a"]', '["a", "b", ["c"]]', "[" * 100_000])
def test_a_scene_with_a_damaged_note_counts_as_edited(result, text):
    from TuckerSegLib.slicer_bridge.scene.contents import CONTENTS_ATTRIBUTE

    result.SetAttribute(CONTENTS_ATTRIBUTE, text)
    assert not is_unedited(result)


def test_an_empty_segmentation_has_no_edits_and_one_that_no_run_filled_is_all_edits(slicer_app):
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert is_unedited(node)
    add(node)
    assert not is_unedited(node)


@pytest.fixture
def segmented(scripted, make_ct, until):
    """The panel after a run, and a function that lets the next run end."""
    scripted.context.change(inputVolume=make_ct(SHAPE))

    def end_run(*values):
        worker = scripted.session.worker
        until(lambda: len(worker.runs) > end_run.ended, 30)
        end_run.ended += 1
        worker.answer(labels_of(*values))
        return scripted.context.parameters.outputSegmentation

    end_run.ended = 0
    scripted.ui.applyButton.click()
    end_run(1)
    return scripted, end_run


def count(node):
    return node.GetSegmentation().GetNumberOfSegments()


def test_what_a_run_left_is_replaced_without_a_question(segmented):
    panel, end_run = segmented
    first = panel.context.parameters.outputSegmentation
    panel.ui.applyButton.click()
    assert not panel.running.question.asked
    assert end_run(2, 1) is first and count(first) == 2


@pytest.mark.each_release
@pytest.mark.parametrize("answer", ["keepBothButton", "replaceButton", "questionCancelButton"])
def test_edits_are_asked_about_in_the_panel(segmented, answer):
    panel, end_run = segmented
    first = panel.context.parameters.outputSegmentation
    add(first)
    panel.ui.applyButton.click()
    assert "edited" in panel.ui.questionLabel.text and not panel.running.running
    getattr(panel.ui, answer).click()
    if answer == "questionCancelButton":
        assert not panel.running.running
    elif answer == "replaceButton":
        assert end_run(1) is first
    else:
        assert end_run(1) is not first
    assert (count(first) == 2) == (answer != "replaceButton")


def test_edits_during_the_run_are_kept_too(segmented):
    panel, end_run = segmented
    first = panel.context.parameters.outputSegmentation
    panel.ui.applyButton.click()
    add(first)
    assert end_run(1) is not first
    assert count(first) == 2
    assert "edited during the run" in panel.ui.logText.plainText


def test_a_script_gets_a_new_segmentation_and_is_told(segmented, until):
    panel, end_run = segmented
    first = panel.context.parameters.outputSegmentation
    add(first)
    events = []
    logic = sys.modules["TuckerSeg"].TuckerSegLogic()
    logic.session = panel.session
    logic.start(panel.context.parameters.inputVolume, first, onEvent=events.append)
    end_run(1)
    assert events[-1]["segmentation_node"] is not first
    assert count(first) == 2
    assert any("left as it is" in event.get("message", "") for event in events)
