"""One patient's segmentation is never filled with another's unasked."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

MODULE_FILE = Path(__file__).resolve().parents[2] / "TuckerSeg.py"
SHAPE = (8, 8, 8)


def ball(value):
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:5, 2:5, 2:5] = value
    return labels


def segmentations():
    import slicer

    return slicer.util.getNodesByClass("vtkMRMLSegmentationNode")


def names_in(node):
    segmentation = node.GetSegmentation()
    return [segmentation.GetNthSegment(number).GetName() for number in range(segmentation.GetNumberOfSegments())]


@pytest.fixture
def segment(scripted, until):
    """A function that clicks Segment and lets the run give a structure; answers the question, where one is asked."""

    def run(value, answer=None):
        worker = scripted.session.worker
        before = len(worker.runs)
        scripted.ui.applyButton.click()
        if answer is not None:
            assert scripted.running.question.asked and not scripted.running.running
            getattr(scripted.ui, answer).click()
        until(lambda: len(worker.runs) > before, 30)
        worker.answer(ball(value))
        return scripted.context.parameters.outputSegmentation

    return run


@pytest.fixture
def patients(scripted, make_ct, segment):
    """Volumes A and B, and A's segmentation, which holds a liver; A and its segmentation are chosen."""
    volumes = make_ct(SHAPE, "A", 1), make_ct(SHAPE, "B", 2)
    scripted.context.change(inputVolume=volumes[0])
    return *volumes, segment(1)


@pytest.mark.each_release
def test_the_second_patient_gets_a_segmentation_of_his_own(scripted, patients, segment):
    _, volume, first = patients
    scripted.ui.inputVolumeSelector.setCurrentNode(volume)
    assert scripted.context.parameters.outputSegmentation is None
    assert scripted.ui.segmentationSelector.currentNode() is None
    second = segment(2)
    assert (first.GetName(), names_in(first)) == ("A segmentation", ["Liver"])
    assert (second.GetName(), names_in(second)) == ("B segmentation", ["Spleen"])


@pytest.mark.parametrize("reading", [False, True])
def test_a_result_is_not_shown_as_that_of_a_patient_who_was_chosen_meanwhile(scripted, make_ct, until, reading):
    volumes = make_ct(SHAPE, "A", 1), make_ct(SHAPE, "B", 2)
    scripted.context.change(inputVolume=volumes[0])
    scripted.ui.applyButton.click()
    until(lambda: scripted.session.worker.runs, 30)
    if reading:
        scripted.pause()  # as while a scene is read
    else:
        scripted.ui.inputVolumeSelector.setCurrentNode(volumes[1])
    scripted.session.worker.answer(ball(1))
    (node,) = segmentations()
    assert node.GetName() == "A segmentation"
    assert scripted.ui.statusLabel.text.startswith("A segmentation: 1 structures")
    if not reading:
        assert scripted.context.parameters.outputSegmentation is None
        scripted.ui.inputVolumeSelector.setCurrentNode(volumes[0])
        assert not scripted.running.running


def test_choosing_the_same_patient_again_keeps_his_segmentation(scripted, patients):
    volume, _, first = patients
    scripted.context.change(inputVolume=None)
    scripted.context.change(inputVolume=volume)
    assert scripted.context.parameters.outputSegmentation is first


def test_an_empty_output_is_kept_for_whatever_volume_is_chosen(scripted, patients):
    import slicer

    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    scripted.context.change(outputSegmentation=empty)
    scripted.context.change(inputVolume=patients[1])
    assert scripted.context.parameters.outputSegmentation is empty


def test_the_segmentation_of_a_patient_whose_volume_is_gone_is_not_anothers(scripted, patients):
    import slicer

    slicer.mrmlScene.RemoveNode(patients[0])
    scripted.context.change(inputVolume=patients[1])
    assert scripted.context.parameters.outputSegmentation is None


@pytest.mark.parametrize("answer", ["keepBothButton", "replaceButton", "questionCancelButton"])
def test_anothers_segmentation_that_is_chosen_is_asked_about(scripted, patients, segment, answer):
    _, volume, first = patients
    scripted.context.change(inputVolume=volume)
    scripted.ui.segmentationSelector.setCurrentNode(first)
    if answer == "questionCancelButton":
        scripted.ui.applyButton.click()
        assert not scripted.ui.questionFrame.isHidden()
        assert "A segmentation is a segmentation of A, and not of B." in scripted.ui.questionLabel.text
        scripted.ui.questionCancelButton.click()
        assert scripted.ui.questionFrame.isHidden()
        assert len(scripted.session.worker.runs) == 1 and names_in(first) == ["Liver"]
    elif answer == "keepBothButton":
        second = segment(2, answer)
        assert second is not first and second.GetName() == "B segmentation"
        assert (first.GetName(), names_in(first)) == ("A segmentation", ["Liver"])
    else:
        assert segment(2, answer) is first
        assert (first.GetName(), names_in(first)) == ("B segmentation", ["Spleen"])
        tables = {first.GetNodeReference(f"TuckerSeg.{kind}Table").GetName() for kind in ("Cost", "Structure")}
        assert tables == {"B segmentation cost", "B segmentation structures"}


def test_a_question_is_withdrawn_when_something_else_is_chosen_or_the_scene_closed(scripted, patients):
    import slicer

    volume, other, first = patients
    for change in (lambda: scripted.context.change(outputSegmentation=None), lambda: slicer.mrmlScene.Clear(0)):
        scripted.context.change(inputVolume=other)
        scripted.context.change(outputSegmentation=first)
        scripted.ui.applyButton.click()
        assert scripted.running.question.asked
        change()
        assert not scripted.running.question.asked and scripted.ui.questionFrame.isHidden()


def test_a_loaded_scene_keeps_the_output_that_was_chosen(scripted, patients, tmp_path):
    import slicer

    scripted.context.change(inputVolume=patients[1])
    scripted.context.change(outputSegmentation=patients[2])
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    parameters = scripted.context.parameters
    assert (parameters.inputVolume.GetName(), parameters.outputSegmentation.GetName()) == ("B", "A segmentation")


@pytest.mark.parametrize("method", ["segment", "start"])
def test_a_script_that_would_fill_anothers_segmentation_gets_an_error(scripted, patients, method):
    from TuckerSegLib.errors import OutputError

    logic = sys.modules["TuckerSeg"].TuckerSegLogic()
    _, volume, first = patients
    with pytest.raises(OutputError, match="A segmentation is a segmentation of A, and not of B.*None"):
        getattr(logic, method)(volume, first)
    assert names_in(first) == ["Liver"] and logic.session.active is None
    logic.close()
