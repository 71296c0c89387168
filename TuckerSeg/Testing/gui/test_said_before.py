"""Before a run: what stands in its way, and what should be known of it, is said beside Segment, not in a tool tip."""

from __future__ import annotations

import shutil

import pytest


@pytest.fixture
def panel(module, make_ct):
    """The panel with a CT and the demonstration network."""
    module.panel.context.change(inputVolume=make_ct(), model="demo")
    return module.panel


@pytest.fixture
def volume(panel):
    return panel.context.parameters.inputVolume


def shown(label):
    """What a label shows; None where it is hidden."""
    return None if label.isHidden() else label.text


def set_modality(volume_node, modality):
    """As Slicer's DICOM module does with a volume that it loads."""
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(volume_node) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), volume_node)
    hierarchy.SetItemAttribute(
        item, slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName(), modality
    )


def put_under(volume_node, kind, matrix=None):
    import slicer
    import vtk

    transform = slicer.mrmlScene.AddNewNodeByClass(f"vtkMRML{kind}TransformNode", "registration")
    if matrix is not None:
        elements = vtk.vtkMatrix4x4()
        elements.DeepCopy(matrix)
        transform.SetMatrixTransformToParent(elements)
    elif kind == "BSpline":
        transform.SetAndObserveTransformToParent(slicer.vtkOrientedBSplineTransform())
    volume_node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def test_nothing_is_said_of_a_ct_for_a_model_of_ct(panel, volume):
    panel.context.refresh()
    assert panel.ui.applyButton.enabled
    assert shown(panel.ui.problemLabel) is None and shown(panel.ui.cautionLabel) is None


def test_what_cannot_work_is_said_and_segment_is_disabled(panel, volume):
    panel.context.change(inputVolume=None)
    assert "Select" in shown(panel.ui.problemLabel)
    assert "Select" in shown(panel.ui.compareProblemLabel)
    assert not panel.ui.applyButton.enabled and not panel.ui.compareButton.enabled
    panel.context.change(inputVolume=volume)
    assert shown(panel.ui.problemLabel) is None and panel.ui.applyButton.enabled
    put_under(volume, "Linear", (1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1))
    panel.context.refresh()
    assert "voxels of 3 × 3 × 0 mm" in shown(panel.ui.problemLabel)
    assert not panel.ui.applyButton.enabled
    put_under(volume, "Linear", (1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1))
    panel.context.refresh()
    assert "lies in a plane" in shown(panel.ui.problemLabel)
    panel.context.change(model="face")
    volume.SetAndObserveTransformNodeID(None)
    panel.context.refresh()
    assert "license key" in shown(panel.ui.problemLabel)
    panel.context.change(model="demo", structuresChoice="selected", selectedStructures=[])
    assert "at least one structure" in shown(panel.ui.problemLabel)


def test_a_bad_model_path_is_said_until_it_is_repaired(panel, until, tmp_path, small_model):
    folder = tmp_path / "mine"
    panel.context.change(model=str(folder))
    until(lambda: shown(panel.ui.problemLabel), 60)
    words = panel.ui.problemLabel.text
    assert "mine" in words and "--" not in words and "tuckerseg" not in words.replace(str(tmp_path), "")
    assert not panel.ui.applyButton.enabled
    shutil.copytree(small_model, folder)
    panel.enter(panel.context.parameters)
    until(lambda: "5 structures" in panel.ui.modelNoteLabel.text, 60)
    assert shown(panel.ui.problemLabel) is None and panel.ui.applyButton.enabled


def test_a_device_that_cannot_run_is_said(panel, until):
    panel.context.change(device="cuda:7")
    until(lambda: shown(panel.ui.problemLabel), 60)
    assert "cuda:7 is not on this computer" in panel.ui.problemLabel.text
    assert not panel.ui.applyButton.enabled
    panel.context.change(device="auto")
    assert panel.ui.applyButton.enabled


@pytest.mark.parametrize(("modality", "model", "expected"), [("MR", "demo", "is MR"), ("CT", "total_mr", "is CT")])
def test_another_modality_than_the_models_is_said_and_may_be_run(panel, volume, modality, model, expected):
    set_modality(volume, modality)
    panel.context.change(model=model)
    panel.context.refresh()
    assert f"ct {expected}, and this model was trained on" in shown(panel.ui.cautionLabel)
    assert panel.ui.applyButton.enabled
    set_modality(volume, "MR" if modality == "CT" else "CT")
    panel.context.refresh()
    assert shown(panel.ui.cautionLabel) is None


def test_values_that_are_none_of_a_ct_are_said(panel, volume, until, small_model):
    import slicer

    array = slicer.util.arrayFromVolume(volume)
    array += 2048  # as an MR, whose files have told nothing
    slicer.util.arrayFromVolumeModified(volume)
    panel.context.refresh()
    assert "probably not Hounsfield units: there is no air" in shown(panel.ui.cautionLabel)
    assert panel.ui.applyButton.enabled
    panel.context.change(model="total_mr")
    assert shown(panel.ui.cautionLabel) is None
    panel.context.change(model=small_model)  # of which the worker knows that it is for CT
    until(lambda: shown(panel.ui.cautionLabel), 60)
    assert "probably not Hounsfield units" in panel.ui.cautionLabel.text


def test_what_a_transform_does_is_said(panel, volume):
    put_under(volume, "Linear", (0, -1, 0, 9, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1))
    panel.context.refresh()
    assert "ct is under the transform registration: it is segmented as that places it" in shown(panel.ui.cautionLabel)
    put_under(volume, "BSpline")
    panel.context.refresh()
    assert "which bends it" in shown(panel.ui.cautionLabel)
    assert panel.ui.applyButton.enabled


def test_too_little_memory_is_said(panel):
    import dataclasses

    from TuckerSegLib.records.estimate import Estimate

    fields = {field.name: 0 for field in dataclasses.fields(Estimate)}
    lists = {"parts": (), "notes": (), "agreement_source": "", "agreement": None, "seconds": None}
    estimate = Estimate(**{**fields, **lists, "peak_memory_bytes": 9 * 10**9, "free_memory_bytes": 2 * 10**9})
    panel.consequences._show(estimate)
    panel.context.refresh()
    assert "needs about 9.0 GB of memory, and 2.0 GB are free" in shown(panel.ui.cautionLabel)
