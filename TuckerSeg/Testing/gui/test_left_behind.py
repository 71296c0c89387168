"""What stays in panel and scene after something has gone: nothing that belonged to it."""

from __future__ import annotations

import numpy as np
import pytest

SHAPE = (8, 8, 8)


def tables():
    import slicer

    return slicer.util.getNodesByClass("vtkMRMLTableNode")


@pytest.fixture
def result(scripted, make_ct, until):
    scripted.context.change(inputVolume=make_ct(SHAPE))
    scripted.ui.applyButton.click()
    until(lambda: scripted.session.worker.runs, 30)
    scripted.session.worker.answer(np.ones(SHAPE, np.uint8))
    return scripted.context.parameters.outputSegmentation


def test_the_tables_of_a_deleted_segmentation_go_with_it(result, scripted):
    import slicer

    assert len(tables()) == 2
    slicer.mrmlScene.RemoveNode(result)
    assert tables() == []
    assert "No run yet" in scripted.ui.resultsLabel.text


def test_tables_that_a_copy_shares_stay_until_the_last_of_them_is_deleted(result):
    import slicer

    copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    copy.Copy(result)
    assert copy.GetNodeReference("TuckerSeg.CostTable") is not None
    slicer.mrmlScene.RemoveNode(result)
    assert len(tables()) == 2
    slicer.mrmlScene.RemoveNode(copy)
    assert tables() == []


def test_a_run_into_a_copy_leaves_the_tables_of_the_other(result, scripted, until):
    import slicer

    copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    copy.Copy(result)
    scripted.context.change(outputSegmentation=copy)
    scripted.ui.applyButton.click()
    until(lambda: len(scripted.session.worker.runs) == 2, 30)
    scripted.session.worker.answer(np.full(SHAPE, 2, np.uint8))
    mine, others = (node.GetNodeReference("TuckerSeg.StructureTable") for node in (copy, result))
    assert mine is not others
    assert [node.GetTable().GetValue(0, 0).ToString() for node in (mine, others)] == ["Spleen", "Liver"]


def test_closing_the_scene_removes_each_table_once(result):
    import slicer

    slicer.mrmlScene.Clear(0)
    assert tables() == []


BUTTONS = ("dependencyInstallButton", "dependenciesInstallButton", "wheelFolderButton", "dependenciesCheckButton")


@pytest.mark.parametrize("pressed", ["dependenciesCheckButton", "dependenciesInstallButton"])
def test_the_buttons_work_again_after_the_scene_was_closed(scripted, pressed):
    import slicer

    getattr(scripted.ui, pressed).click()
    assert not getattr(scripted.ui, pressed).enabled
    slicer.mrmlScene.Clear(0)
    assert all(getattr(scripted.ui, name).enabled for name in BUTTONS)
    assert "Checking" not in scripted.ui.dependenciesText.plainText
    assert "Looking" not in scripted.ui.statusLabel.text


def test_closing_the_scene_while_pip_runs_lets_nobody_start_it_twice(scripted, monkeypatch, until):
    import slicer

    from TuckerSegLib.slicer_bridge.panel import dependencies_section

    enabled = []

    def install(*_):
        slicer.mrmlScene.Clear(0)
        enabled.extend(getattr(scripted.ui, name).enabled for name in BUTTONS)

    monkeypatch.setattr(dependencies_section, "install", install)
    monkeypatch.setattr(dependencies_section, "plan_installation", lambda *_: None)
    scripted.ui.dependenciesInstallButton.click()
    until(lambda: enabled, 300)
    assert not any(enabled)
    assert all(getattr(scripted.ui, name).enabled for name in BUTTONS)


def test_tables_whose_segmentation_went_before_the_panel_was_opened_go_when_it_is(slicer_app, make_ct, request):
    import slicer

    from Testing.unit.records_of_a_run import STATISTICS
    from TuckerSegLib.slicer_bridge.scene.statistics_nodes import attach_statistics

    gone, kept = (slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name) for name in ("gone", "kept"))
    for node in (gone, kept):
        attach_statistics(node, STATISTICS)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "somebody's own")
    slicer.mrmlScene.RemoveNode(gone)
    assert len(tables()) == 5
    request.getfixturevalue("module")
    assert sorted(table.GetName() for table in tables()) == ["kept cost", "kept structures", "somebody's own"]
