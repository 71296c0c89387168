"""The test runtime against what the real PythonQt did: recorded results of small pieces of code."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

HERE = Path(__file__).resolve().parent
RUN = """
import json, os, sys, time
os.environ["QT_QPA_PLATFORM"] = "offscreen"
sys.path[:0] = [{runtime!r}, {conformance!r}]
import pythonqt
pythonqt.install()
import qt
application = qt.QApplication(["x"])
import cases

def spin():
    for _ in range(20):
        application.processEvents()
        time.sleep(0.005)

results = cases.run(qt, spin)
sys.stderr.flush()
print("RESULTS " + json.dumps(results), flush=True)
os._exit(0)
"""
RECORDED_IN = {**os.environ, "TMPDIR": "/tmp"}  # the temporary folder that is among the results
DIFFERENT = 10  # README.md of the runtime lists them: what a module must not write


def test_the_runtime_behaves_as_pythonqt_but_for_the_listed_cases():
    pytest.importorskip("PySide6")
    runtime = HERE / "runtime"
    code = RUN.format(runtime=str(runtime), conformance=str(runtime / "conformance"))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", env=RECORDED_IN, timeout=600
    )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULTS ")]
    results = json.loads(line.removeprefix("RESULTS "))
    recorded = json.loads((runtime / "conformance" / "pythonqt_results.json").read_text(encoding="utf-8"))
    assert len(results) == len(recorded) == 167
    different = [
        (case, here, there)
        for (case, here), (_, there) in zip(results, recorded)
        if here != there and not (here.startswith("EXC") and there.startswith("EXC"))
    ]
    assert len(different) == DIFFERENT, "\n".join(map(str, different))


@pytest.fixture
def path_line(slicer_app):
    import ctk

    line, heard = ctk.ctkPathLineEdit(), []
    line.connect("currentPathChanged(QString)", heard.append)
    line.connect("validInputChanged(bool)", heard.append)
    return SimpleNamespace(widget=line, heard=heard)


def test_a_path_line_tells_of_every_text_but_an_empty_one(path_line):
    path_line.widget.currentPath = "/a"
    path_line.widget.currentPath = "/ab"
    path_line.widget.currentPath = ""
    assert path_line.heard == ["/a", True, "/ab", False]


@pytest.mark.parametrize("name_filters", [["Images (*.png *.jpg)"], ["*.png"]])
def test_a_path_line_tells_only_of_what_its_filters_accept(path_line, name_filters):
    path_line.widget.nameFilters = name_filters
    for text in ("/a", "/a.p", "/a.pn", "/a.png", "/a.png/b"):
        path_line.widget.currentPath = text
    assert path_line.heard == ["/a.pn", True, "/a.png", False]


def test_a_path_line_takes_the_latest_of_its_history_where_it_is_empty(path_line, slicer_app):
    import ctk
    import qt

    path_line.widget.settingKey = "conformance"
    path_line.widget.currentPath = "/a"
    path_line.widget.addCurrentPathToHistory()
    other = ctk.ctkPathLineEdit()
    other.settingKey = "conformance"
    assert other.currentPath == "/a"
    qt.QSettings().remove("ctkPathLineEdit/conformance")


def test_sample_data_tells_fields_of_another_length(slicer_app):
    import SampleData

    with pytest.raises(ValueError, match="same length"):
        SampleData.SampleDataSource("name", uris=["file:///a", "file:///b"], fileNames=["a"], nodeNames=["a", "b"])


def test_sample_data_gives_up_a_file_with_another_checksum(slicer_app, tmp_path, monkeypatch):
    import SampleData
    import slicer

    (tmp_path / "a.nrrd").write_bytes(b"anything")
    uri = (tmp_path / "a.nrrd").as_uri()
    source = SampleData.SampleDataSource("a", uris=uri, fileNames="b.nrrd", nodeNames="a", checksums=f"SHA256:{0:064}")
    assert SampleData.SampleDataLogic().downloadFromSource(source) == []
    assert slicer.util.getNodesByClass("vtkMRMLVolumeNode") == []


@pytest.mark.skipif("TUCKERSEG_SLICER_PYTHON" in os.environ, reason="Slicer's own files are of one release")
def test_a_release_of_slicer_has_what_it_has(slicer_version):
    import qt
    import slicer
    from SampleData import SampleDataLogic

    older = slicer_version.number < (5, 12, 0)
    assert slicer.app.applicationVersion == ".".join(map(str, slicer_version.number))
    assert hasattr(SampleDataLogic, "categoryTitle") == (not older)
    assert hasattr(slicer, "packaging") == (not older)
    with pytest.raises(ImportError) if older else contextlib.nullcontext():
        importlib.import_module("slicer.packaging")
    assert hasattr(qt.QCheckBox(), "checkStateChanged") == (slicer_version.qt == 6)


OVERLAY = """
import os, sys
sys.path.insert(0, {runtime!r})
import host
host.start(overlay={overlay!r})
import slicer.i18n, slicer.packaging, slicer.parameterNodeWrapper, slicer.ScriptedLoadableModule, SampleData
for module in (slicer.i18n, slicer.packaging, slicer.parameterNodeWrapper, slicer.ScriptedLoadableModule, SampleData):
    print("FROM", getattr(module, "__file__", None) and os.path.basename(module.__file__))
sys.stdout.flush()
os._exit(0)
"""


def test_an_overlay_replaces_the_parameter_node_and_sample_data_too(tmp_path):
    pytest.importorskip("PySide6")
    (tmp_path / "parameterNodeWrapper").mkdir()
    for name in ("parameterNodeWrapper/__init__.py", "SampleData.py", "packaging.py"):
        (tmp_path / name).write_text("")
    code = OVERLAY.format(runtime=str(HERE / "runtime"), overlay=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=600)
    given = [line.removeprefix("FROM ") for line in done.stdout.splitlines() if line.startswith("FROM")]
    assert given == ["None", "packaging.py", "__init__.py", "None", "SampleData.py"], done.stderr
