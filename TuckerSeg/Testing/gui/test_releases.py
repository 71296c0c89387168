"""The module in each release of Slicer that it has to work in, by the rules that the runtime has of them."""

from __future__ import annotations

import gc
import os
import re
import weakref
from pathlib import Path

import pytest

MODULE_FOLDER = Path(__file__).resolve().parents[2]


def test_a_segmentation_survives_closing_and_loading_its_scene(slicer_version, ready, module, until, tmp_path):
    import slicer

    module.panel.ui.applyButton.click()
    until(lambda: not module.panel.running.running)
    assert ready.context.parameters.outputSegmentation.GetSegmentation().GetNumberOfSegments() > 0
    file = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(file)
    slicer.mrmlScene.Clear(0)
    assert ready.context.parameters.inputVolume is None
    slicer.util.loadScene(file)
    module.container.exit()
    module.container.enter()
    parameters = ready.context.parameters
    assert parameters.inputVolume.GetName() == "ct"
    assert parameters.outputSegmentation.GetSegmentation().GetNumberOfSegments() > 0


@pytest.mark.skipif("TUCKERSEG_SLICER_PYTHON" in os.environ, reason="Slicer's own files are of one release")
def test_a_view_goes_with_its_connections_unless_the_release_keeps_it(slicer_version):
    import slicer
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    view = parameterNodeWrapper(type("Parameters", (), {"__annotations__": {"name": str}}))(node)
    view.disconnectGui(view.connectParametersToGui({}))
    reference = weakref.ref(view)
    del view
    gc.collect()
    assert (reference() is not None) == (slicer_version.number < (5, 12, 0))


def test_the_bridge_uses_nothing_that_is_newer_than_qt_5(slicer_app):
    import versions

    newer = versions.NEWER_THAN_QT_5 | {"Accent", "globalPosition", "scenePosition"}  # of palettes and events
    used = re.compile(rf"\.({'|'.join(sorted(newer))})\b")
    files = sorted((MODULE_FOLDER / "TuckerSegLib" / "slicer_bridge").rglob("*.py"))
    assert len(files) > 20
    assert [(file.name, match[1]) for file in files for match in used.finditer(file.read_text(encoding="utf-8"))] == []
