"""Sequences: the current frame by default, all frames on request."""

from __future__ import annotations

import numpy as np
import pytest

FRAMES = 3


@pytest.fixture
def proxy(make_proxy):
    return make_proxy(FRAMES)


def browser():
    import slicer

    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode")


def finish(panel, until):
    until(lambda: not panel.running.running, shown=lambda: panel.ui.statusLabel.text)


def sizes(segmentation_node):
    import slicer

    segmentation = segmentation_node.GetSegmentation()
    return {
        segmentation.GetNthSegment(number).GetLabelValue(): int(
            np.count_nonzero(
                slicer.util.arrayFromSegmentInternalBinaryLabelmap(
                    segmentation_node, segmentation.GetNthSegmentID(number)
                )
                == segmentation.GetNthSegment(number).GetLabelValue()
            )
        )
        for number in range(segmentation.GetNumberOfSegments())
    }


def test_by_default_only_the_current_frame_is_segmented(ready, until, proxy):
    ready.context.change(inputVolume=proxy)
    assert not ready.ui.sequenceCheckBox.isHidden()
    ready.ui.applyButton.click()
    finish(ready, until)
    assert browser().GetSelectedItemNumber() == 1
    assert browser().GetNumberOfSynchronizedSequenceNodes() == 0
    assert ready.context.parameters.outputSegmentation.GetSegmentation().GetNumberOfSegments() > 0


def test_all_frames_become_a_sequence_of_segmentations(ready, until, proxy):
    import slicer

    ready.context.change(inputVolume=proxy, allFrames=True, recommendedStep=False, stepFraction=1.0)
    ready.ui.applyButton.click()
    finish(ready, until)
    assert browser().GetSelectedItemNumber() == 1
    sequences = [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLSequenceNode")
        if node.GetDataNodeClassName() == "vtkMRMLSegmentationNode"
    ]
    (sequence,) = sequences
    assert sequence.GetNumberOfDataNodes() == FRAMES
    proxy_segmentation = browser().GetProxyNode(sequence)
    frame_sizes = []
    for frame in range(FRAMES):
        browser().SetSelectedItemNumber(frame)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser())
        frame_sizes.append(sizes(proxy_segmentation))
    assert frame_sizes[0] != frame_sizes[1] != frame_sizes[2]


def test_cancelling_keeps_the_frames_that_are_done_and_the_current_frame(ready, until, proxy):
    ready.context.change(inputVolume=proxy, allFrames=True)
    ready.ui.applyButton.click()
    until(lambda: "Frame 2" in ready.ui.statusLabel.text)
    ready.ui.applyButton.click()
    finish(ready, until)
    assert browser().GetSelectedItemNumber() == 1
    assert "Cancelled" in ready.ui.statusLabel.text


@pytest.fixture
def all_frames(scripted, proxy):
    """The panel with all frames of the sequence chosen, and a function that lets the next frame end."""
    scripted.context.change(inputVolume=proxy, allFrames=True)
    return scripted


@pytest.fixture
def end_frame(all_frames, until):
    worker = all_frames.session.worker

    def end(value, number):
        until(lambda: len(worker.runs) == number, 30)
        labels = np.zeros((40, 44, 48), np.uint8)
        labels[2 : 2 + number, 2:4, 2:4] = value
        worker.answer(labels)

    return end


def node_ids():
    import slicer

    return {slicer.mrmlScene.GetNthNode(number).GetID() for number in range(slicer.mrmlScene.GetNumberOfNodes())}


def segmentation_sequences():
    import slicer

    sequences = slicer.util.getNodesByClass("vtkMRMLSequenceNode")
    return [node for node in sequences if node.GetDataNodeClassName() == "vtkMRMLSegmentationNode"]


def take_its_voxels(volume_node):
    volume_node.SetAndObserveImageData(None)


def give_it_three_values_per_voxel(volume_node):
    image = volume_node.GetImageData()
    image.AllocateScalars(image.GetScalarType(), 3)


def spoil(frame, how=take_its_voxels):
    how(browser().GetMasterSequenceNode().GetNthDataNode(frame))


@pytest.mark.parametrize("how", [take_its_voxels, give_it_three_values_per_voxel])
@pytest.mark.parametrize("frame", [1, 2])
def test_an_unusable_later_frame_ends_the_run_and_keeps_those_before(all_frames, end_frame, frame, how):
    spoil(frame, how)
    all_frames.ui.applyButton.click()
    for number in range(1, frame + 1):
        end_frame(1, number)
    assert not all_frames.running.running and all_frames.session.active is None
    assert f"Frame {frame + 1} of 3: " in all_frames.ui.statusLabel.text
    assert all_frames.ui.applyButton.text == "Segment"
    (sequence,) = segmentation_sequences()
    assert sequence.GetNumberOfDataNodes() == frame
    assert browser().GetSelectedItemNumber() == 1


@pytest.mark.each_release
def test_an_unusable_first_frame_leaves_the_scene_as_it_was(all_frames):
    spoil(0)
    before = node_ids()
    all_frames.ui.applyButton.click()
    assert not all_frames.running.running
    assert "has no voxels" in all_frames.ui.statusLabel.text
    assert node_ids() == before
    assert browser().GetSelectedItemNumber() == 1


@pytest.mark.parametrize(
    "event", [{"event": "error", "message": "No.", "advice": "", "kind": "X"}, {"event": "cancelled"}]
)
def test_a_first_frame_that_fails_or_is_cancelled_leaves_the_scene_as_it_was(all_frames, until, event):
    before = node_ids()
    all_frames.ui.applyButton.click()
    worker = all_frames.session.worker
    until(lambda: worker.runs, 30)
    worker.say(**event)
    assert not all_frames.running.running
    assert node_ids() == before
    assert browser().GetSelectedItemNumber() == 1


def test_any_error_between_frames_ends_the_run(all_frames, until, end_frame, monkeypatch):
    from TuckerSegLib.slicer_bridge.client import volume_transfer

    def fail(*_):
        raise MemoryError("3 GB")

    all_frames.ui.applyButton.click()
    until(lambda: all_frames.session.worker.runs, 30)
    monkeypatch.setattr(volume_transfer, "volume_file", fail)
    end_frame(1, 1)
    assert not all_frames.running.running and all_frames.session.active is None
    assert "Frame 2 of 3: 3 GB" in all_frames.ui.statusLabel.text
    assert "MemoryError" in all_frames.ui.logText.plainText


def test_a_sequence_that_is_removed_between_frames_ends_the_run(all_frames, end_frame):
    import slicer

    all_frames.ui.applyButton.click()
    slicer.mrmlScene.RemoveNode(browser())
    end_frame(1, 1)
    assert not all_frames.running.running
    assert "The sequence was removed" in all_frames.ui.statusLabel.text
    assert segmentation_sequences()[0].GetNumberOfDataNodes() == 1


def test_frames_go_into_a_new_segmentation_where_the_chosen_one_is_a_frame_already(all_frames, end_frame):
    all_frames.ui.applyButton.click()
    for number in (1, 2, 3):
        end_frame(1, number)
    first = all_frames.context.parameters.outputSegmentation
    assert not all_frames.running.question.asked
    all_frames.ui.applyButton.click()
    if all_frames.running.question.asked:
        all_frames.ui.replaceButton.click()
    for number in (4, 5, 6):
        end_frame(2, number)
    assert all_frames.context.parameters.outputSegmentation is not first
    assert [sequence.GetNumberOfDataNodes() for sequence in segmentation_sequences()] == [FRAMES, FRAMES]


def test_a_cancelled_run_tells_of_the_frames_that_are_done(all_frames, end_frame, until):
    all_frames.ui.applyButton.click()
    assert all_frames.ui.applyButton.toolTip == "Stop the run; frames that are done stay"
    end_frame(1, 1)
    until(lambda: len(all_frames.session.worker.runs) == 2, 30)
    all_frames.ui.applyButton.click()
    until(lambda: not all_frames.running.running, 30)
    assert all_frames.ui.statusLabel.text == "Cancelled. 1 of 3 frames are done and stay."
    assert segmentation_sequences()[0].GetNumberOfDataNodes() == 1


@pytest.mark.parametrize("how", ["edited", "removed"])
def test_a_frame_without_structures_empties_nothing_that_was_edited_or_removed_meanwhile(all_frames, end_frame, how):
    import slicer

    all_frames.ui.applyButton.click()
    end_frame(1, 1)
    (first,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    if how == "edited":
        first.GetSegmentation().GetNthSegment(0).SetName("mine")
    else:
        slicer.mrmlScene.RemoveNode(first)
    end_frame(0, 2)
    assert [node for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if node is not first]
    end_frame(0, 3)
    assert not all_frames.running.running
    (sequence,) = segmentation_sequences()
    counts = [sequence.GetNthDataNode(frame).GetSegmentation().GetNumberOfSegments() for frame in range(FRAMES)]
    assert counts == [1, 0, 0]
    proxy = browser().GetProxyNode(sequence)
    assert proxy is not first and slicer.util.getNodesByClass("vtkMRMLSegmentationNode").count(proxy) == 1
    if how == "edited":
        assert first.GetSegmentation().GetNthSegment(0).GetName() == "mine"
        assert sizes(first) == {1: 4}
