"""The module in Slicer's own circumstances: no packages yet, no widgets, its self-test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
MODULE_FILE = HERE.parents[1] / "TuckerSeg.py"
WITHOUT_PACKAGES = """
import importlib.util, sys
sys.path[:0] = [{runtime!r}]
import host, pythonqt
application = host.start()
found = importlib.util.find_spec
absent = ("torch", "nnunetv2", "tensorly", "openvino", "safetensors", "nibabel", "SimpleITK")
importlib.util.find_spec = lambda name, *rest: None if name in absent else found(name, *rest)
for name in absent:
    sys.modules[name] = None
module = host.load({module!r})
host.startup_completed()
page = module.widgetRepresentation()
page.enter()
panel = page.self().panel
for _ in range(100):
    application.processEvents()
print("ready", panel.context.packages_ready)
print("banner", not panel.ui.dependencyFrame.isHidden(), "torch" in panel.ui.dependencyLabel.text)
print("segment", panel.ui.applyButton.enabled, panel.ui.applyButton.toolTip)
print("worker", panel.session.warm)
print("errors", pythonqt.errors)
sys.stdout.flush()
import os
os._exit(0)
"""


@pytest.fixture(scope="module")
def without_packages():
    pytest.importorskip("slicer")
    code = WITHOUT_PACKAGES.format(runtime=str(HERE / "runtime"), module=str(MODULE_FILE))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=600)
    assert done.returncode == 0, done.stderr
    lines = (line.partition(" ") for line in done.stdout.splitlines())
    return {name: words for name, _, words in lines}


def test_the_panel_opens_without_any_of_the_packages(without_packages):
    assert without_packages["ready"] == "False"
    assert without_packages["errors"] == "[]"


def test_what_is_missing_is_named_and_nothing_is_started(without_packages):
    assert without_packages["banner"] == "True True"
    assert without_packages["segment"].startswith("False Python packages are missing")
    assert without_packages["worker"] == "False"


def test_the_self_test_passes(slicer_app):
    import host
    import slicer

    host.load(str(MODULE_FILE))
    test = sys.modules["TuckerSeg"].TuckerSegTest()
    test.runTest()
    (node,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert node.GetSegmentation().GetNumberOfSegments() > 20


def test_scripts_segment_without_any_widget(slicer_app, make_ct, small_model):
    import host

    host.load(str(MODULE_FILE))
    logic = sys.modules["TuckerSeg"].TuckerSegLogic()
    stages = []
    statistics = logic.segment(
        make_ct(), rank=0.5, model=small_model, step_fraction=1.0, onEvent=lambda event: stages.append(event["event"])
    )
    folder = logic.session.worker.folder
    logic.close()
    assert "rank 0.50" in statistics.compression
    assert logic.segmentationNode.GetSegmentation().GetNumberOfSegments() == len(statistics.structures)
    assert stages[-1] == "result"
    assert not folder.exists()


def test_scripts_start_and_cancel(slicer_app, until, make_ct, slow_model):
    import host

    host.load(str(MODULE_FILE))
    logic = sys.modules["TuckerSeg"].TuckerSegLogic()
    events = []
    logic.start(make_ct((96, 96, 96)), model=slow_model, onEvent=lambda event: events.append(event["event"]))
    until(lambda: "progress" in events)
    logic.cancel()
    until(lambda: events[-1] == "cancelled")
    logic.close()


def test_a_script_gets_an_exception_with_what_to_do(slicer_app, make_ct, tmp_path):
    import host

    from TuckerSegLib.errors import TuckerSegError

    host.load(str(MODULE_FILE))
    logic = sys.modules["TuckerSeg"].TuckerSegLogic()
    with pytest.raises(TuckerSegError, match="gone.*Choose another model"):
        logic.segment(make_ct(), model=str(tmp_path / "gone"))
    logic.close()
