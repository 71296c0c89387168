"""The scene's life: saved and loaded, closed, the module reloaded, several segmentations."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest


def finish(panel, until):
    until(lambda: not panel.running.running, shown=lambda: panel.ui.statusLabel.text)


def test_a_saved_scene_brings_back_choices_and_results(ready, until, tmp_path, small_model):
    import slicer

    ready.context.change(
        rankRatio=0.7,
        recommendedStep=False,
        stepFraction=0.8,
        structuresChoice="selected",
        selectedStructures=["liver", "aorta"],
    )
    ready.ui.applyButton.click()
    finish(ready, until)
    node = ready.context.parameters.outputSegmentation
    count = node.GetSegmentation().GetNumberOfSegments()
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    slicer.mrmlScene.Clear(0)
    assert ready.context.parameters.rankRatio == 1.0
    slicer.util.loadScene(path)
    parameters = ready.context.parameters
    assert (parameters.rankRatio, parameters.stepFraction, parameters.model) == (0.7, 0.8, small_model)
    assert parameters.selectedStructures == ["liver", "aorta"]
    assert parameters.inputVolume.GetName() == "ct"
    assert parameters.outputSegmentation.GetSegmentation().GetNumberOfSegments() == count > 0
    assert ready.ui.rankSlider.value == 0.7
    assert "structures in" in ready.ui.resultsLabel.text
    assert ready.ui.costTableView.mrmlTableNode() is not None


def test_the_record_of_a_run_stays_with_its_segmentation(ready, until):
    from TuckerSegLib.slicer_bridge.scene.statistics_nodes import statistics_of

    ready.ui.applyButton.click()
    finish(ready, until)
    node = ready.context.parameters.outputSegmentation
    record = json.loads(node.GetAttribute("TuckerSeg.Statistics"))
    assert record["volume"] == "ct"
    statistics = statistics_of(node)
    assert len(statistics.structures) == node.GetSegmentation().GetNumberOfSegments()
    assert statistics.voxels == 40 * 44 * 48


def test_choosing_another_segmentation_shows_its_results(ready, until):
    ready.ui.applyButton.click()
    finish(ready, until)
    first = ready.context.parameters.outputSegmentation
    ready.context.change(outputSegmentation=None, rankRatio=0.5)
    ready.ui.applyButton.click()
    finish(ready, until)
    assert ready.context.parameters.outputSegmentation is not first
    assert "rank 0.50" in ready.ui.resultsLabel.text
    ready.ui.segmentationSelector.setCurrentNode(first)
    assert "original network" in ready.ui.resultsLabel.text


@pytest.fixture
def library_restored():
    """Reloading replaces the library's modules; the tests that follow hold classes of the old ones."""
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "TuckerSegLib"}
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "TuckerSegLib"]:
        del sys.modules[name]
    sys.modules.update(before)


def test_reloading_the_module_keeps_the_scene_and_ends_the_worker(
    library_restored, module, until, make_ct, small_model
):
    import slicer

    from TuckerSegLib.slicer_bridge.client.worker_process import WorkerProcess

    panel = module.panel
    panel.context.change(inputVolume=make_ct(), model=small_model, rankRatio=0.6)
    until(lambda: panel.session.worker.pid is not None)
    folder = panel.session.worker.folder
    module.widget.onReload()
    new = slicer.modules.TuckerSegWidget
    assert new is not module.widget
    assert not folder.exists()
    assert sys.modules["TuckerSegLib.slicer_bridge.client.worker_process"].WorkerProcess is not WorkerProcess
    assert new.panel.context.parameters.rankRatio == 0.6
    assert new.panel.context.parameters.inputVolume.GetName() == "ct"
    new.panel.context.change(recommendedStep=False, stepFraction=1.0)
    new.ui.applyButton.click()
    finish(new.panel, until)
    assert new.panel.context.parameters.outputSegmentation is not None
    new.cleanup()


def test_another_parameter_node_is_followed_and_the_first_one_left_alone(module):
    import slicer

    first = module.panel.context.parameters
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    second = type(first)(node)
    second.rankRatio = 0.6
    module.panel.enter(second)
    assert module.panel.ui.rankSlider.value == 0.6
    module.panel.ui.rankSlider.value = 0.4
    assert (first.rankRatio, second.rankRatio) == (1.0, 0.4)


def test_leaving_the_module_lets_a_run_go_on(module, ready, until):
    ready.ui.applyButton.click()
    module.container.exit()
    finish(ready, until)
    assert ready.context.parameters.outputSegmentation is not None


def test_tables_can_be_saved_as_csv(ready, until, tmp_path):
    ready.ui.applyButton.click()
    finish(ready, until)
    path = Path(tmp_path / "table.csv")
    ready.results.save(path)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("measure,original,this run,ratio\n")
    assert '"parameters, million"' in text
    assert "structure,volume (ml),label,name in the model" in text
    assert not list(tmp_path.glob("*.part"))


def test_names_switch_without_a_run(ready, until):
    ready.ui.applyButton.click()
    finish(ready, until)
    segment = ready.context.parameters.outputSegmentation.GetSegmentation().GetNthSegment(0)
    standard = segment.GetName()
    ready.ui.namesComboBox.currentIndex = 1
    ready.ui.namesComboBox.activated.emit(1)
    assert segment.GetName() != standard
    assert segment.GetName() in ("spleen", "kidney_right", "kidney_left", "liver", "aorta")
