"""Whatever is chosen, the panel says what is wrong and what to do, and nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest


def add_volume(array, kind="vtkMRMLScalarVolumeNode"):
    import slicer

    return slicer.util.addVolumeFromArray(array, name="input", nodeClassName=kind)


def test_no_volume_is_asked_for(module):
    module.panel.context.change(inputVolume=None)
    module.panel.context.refresh()
    assert not module.panel.ui.applyButton.enabled
    assert "Select" in module.panel.ui.problemLabel.text


def test_an_empty_volume_is_named(module):
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty one")
    module.panel.context.change(inputVolume=node)
    assert not module.panel.ui.applyButton.enabled
    assert "empty one has no voxels" in module.panel.ui.problemLabel.text


@pytest.mark.parametrize("kind", ["vtkMRMLLabelMapVolumeNode", "vtkMRMLVectorVolumeNode"])
def test_volumes_of_other_kinds_are_refused_from_scripts_too(module, kind):
    from TuckerSegLib.errors import ImageError

    shape = (8, 8, 8, 3) if "Vector" in kind else (8, 8, 8)
    node = add_volume(np.zeros(shape, np.uint8), kind)
    with pytest.raises(ImageError, match="Select|select"):
        module.logic.segment(node)


def test_a_constant_volume_is_told(module, until):
    panel = module.panel
    panel.context.change(inputVolume=add_volume(np.zeros((20, 20, 20), np.int16)))
    panel.ui.applyButton.click()
    until(lambda: not panel.running.running, shown=lambda: panel.ui.statusLabel.text)
    assert "every voxel has the same value" in panel.ui.statusLabel.text


def test_a_folder_that_is_no_model_is_told(ready, until, tmp_path):
    folder = tmp_path / "holiday pictures"
    folder.mkdir()
    ready.context.change(model=str(folder))
    until(lambda: str(folder) in ready.ui.modelNoteLabel.text, shown=lambda: ready.ui.modelNoteLabel.text)
    assert "plans.json" in ready.ui.problemLabel.text
    assert not ready.ui.applyButton.enabled


def test_a_model_that_has_gone_is_told(ready, until, tmp_path):
    ready.context.change(model=str(tmp_path / "gone"))
    ready.ui.applyButton.click()
    until(lambda: not ready.running.running)
    assert "gone" in ready.ui.statusLabel.text


def test_a_device_that_is_not_here_is_told(ready, until):
    ready.context.change(device="cuda:7")
    ready.ui.applyButton.click()
    until(lambda: not ready.running.running)
    assert "cuda:7" in ready.ui.statusLabel.text
    assert "Usable here" in ready.ui.statusLabel.text


def test_unusable_devices_are_greyed_with_the_reason(ready, until):
    import qt

    box = ready.ui.deviceComboBox
    until(lambda: box.count > 1)
    greyed = [index for index in range(box.count) if not box.model().index(index, 0).flags() & qt.Qt.ItemIsEnabled]
    assert greyed
    assert all(box.itemData(index, qt.Qt.ToolTipRole) for index in greyed)
    assert "PyTorch was built without CUDA" in [box.itemData(index, qt.Qt.ToolTipRole) for index in greyed]


def test_no_checked_structure_is_told(ready):
    ready.context.change(structuresChoice="selected", selectedStructures=[])
    assert not ready.ui.applyButton.enabled
    assert "structure" in ready.ui.problemLabel.text


def test_ranks_that_are_none_are_told(ready):
    ready.ui.compareRanksEdit.text = "0.5, high"
    ready.ui.compareButton.click()
    assert "high" in ready.ui.compareNoteLabel.text
    assert not ready.comparing.running


def test_a_full_disk_is_told(ready, until, monkeypatch):
    from TuckerSegLib.slicer_bridge.scene import volumes

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(volumes.np.lib.format, "write_array_header_1_0", full)
    ready.ui.applyButton.click()
    until(lambda: not ready.running.running)
    assert "No space left" in ready.ui.statusLabel.text
    assert "the disk is full" in ready.ui.statusLabel.text and "MB are needed" in ready.ui.statusLabel.text


def test_a_disk_that_is_too_full_for_the_workers_folder_is_told(ready, until, monkeypatch):
    from TuckerSegLib.slicer_bridge.client import workspace

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(workspace, "HeldFolder", full)
    ready.session.close()  # the next run makes another worker with another folder
    ready.ui.applyButton.click()
    until(lambda: not ready.running.running, 60)
    assert "the disk is full" in ready.ui.statusLabel.text and "MB are free in" in ready.ui.statusLabel.text
    ready.context.change(model="total_fast")
    ready.context.change(model="demo")  # asks the worker what it is
    assert "the disk is full" in ready.ui.logText.plainText
