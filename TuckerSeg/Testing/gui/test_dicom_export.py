"""The result stands in the study of its volume, and one press exports it as DICOM SEG."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def database(slicer_app, tmp_path):
    import dicom

    yield dicom.install(tmp_path)
    dicom.remove()


@pytest.fixture
def study(slicer_app):
    """Item of a study of a patient in the subject hierarchy."""
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Doe")
    return hierarchy.CreateStudyItem(patient, "CT of the trunk")


@pytest.fixture
def segmented(scripted, study, make_ct, until):
    """The panel after a run of a volume of the study."""
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    volume = make_ct()
    hierarchy.CreateItem(study, volume)
    scripted.context.change(inputVolume=volume)
    scripted.context.refresh()
    scripted.ui.applyButton.click()
    until(lambda: scripted.session.worker.runs, 30)
    labels = np.zeros((40, 44, 48), np.uint8)
    labels[2:4, 2:4, 2:4], labels[6:8, 2:4, 2:4] = 1, 2
    scripted.session.worker.answer(labels)
    return scripted


def load_from(database, volume, tmp_path):
    """As Slicer's DICOM module loads a volume."""
    image = tmp_path / "slice.dcm"
    image.write_bytes(b"DICM")
    database.files = {"1.2.3": str(image)}
    volume.SetAttribute("DICOM.instanceUIDs", "1.2.3")


def test_the_result_stands_in_the_study_of_its_volume(segmented, study):
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    node = segmented.context.parameters.outputSegmentation
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study


def test_one_press_adds_a_dicom_seg_to_the_database(segmented, database, tmp_path):
    import slicer

    load_from(database, segmented.context.parameters.inputVolume, tmp_path)
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    assert segmented.ui.exportDicomButton.enabled
    segmented.ui.exportDicomButton.click()
    (path,) = database.inserted
    with open(path, encoding="utf-8") as file:
        image, *segments = file.read().split("\n")
    assert image == "1.2.3"
    # codes of SNOMED CT: an organ, the liver and the spleen
    assert segments == [
        "Liver | AUTOMATIC | TuckerSeg | SCT 123037004 | SCT 10200004",
        "Spleen | AUTOMATIC | TuckerSeg | SCT 123037004 | SCT 78961009",
    ]
    assert "is in Slicer's DICOM database" in segmented.ui.statusLabel.text
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes


def test_what_keeps_it_from_being_exported_is_told(segmented, database, tmp_path):
    import dicom
    import slicer

    def said():
        segmented.ui.exportDicomButton.click()
        return segmented.ui.statusLabel.text

    assert "ct was not loaded from Slicer's DICOM database" in said()
    load_from(database, segmented.context.parameters.inputVolume, tmp_path)
    dicom.Exporter.failure = "The disk is full."
    try:
        assert "failed: The disk is full." in said()
    finally:
        dicom.Exporter.failure = ""
    del slicer.modules.dicomPlugins
    assert "get the extension QuantitativeReporting" in said()
    slicer.mrmlScene.RemoveNode(segmented.context.parameters.inputVolume)
    assert "belongs to no volume of the scene" in said()
    segmented.context.change(outputSegmentation=None)
    assert not segmented.ui.exportDicomButton.enabled


@pytest.mark.parametrize("place", ["__init__", "examineForExport", "export"])
def test_whatever_the_exporter_raises_is_told_after_the_words_that_it_goes_on(
    segmented, database, tmp_path, monkeypatch, place
):
    import dicom

    label, shown = segmented.ui.statusLabel, []

    def fail(*_):
        shown.append(label.text)
        raise RuntimeError("the encoder has gone")

    load_from(database, segmented.context.parameters.inputVolume, tmp_path)
    monkeypatch.setattr(dicom.Exporter, place, fail)
    segmented.ui.exportDicomButton.click()
    assert shown == ["Writing the DICOM SEG…"]
    assert label.text == "Slicer's exporter of DICOM SEG failed: RuntimeError: the encoder has gone"
    assert database.inserted == []
