"""Sequences: the current frame by default, all frames on request."""

from __future__ import annotations

import numpy as np
import pytest

FRAMES = 3


@pytest.fixture
def proxy(make_ct):
    """The proxy volume of a sequence of three frames that differ."""
    import slicer

    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "ct sequence")
    sequence.SetIndexName("time")
    sequence.SetIndexUnit("s")
    for frame in range(FRAMES):
        node = make_ct(seed=frame)
        sequence.SetDataNodeAtValue(node, str(frame))
        slicer.mrmlScene.RemoveNode(node)
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    browser.SetSelectedItemNumber(1)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    return browser.GetProxyNode(sequence)


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
