"""The tier that clicks the real buttons: real MRML and real Qt widgets, with a test runtime for the application."""

from __future__ import annotations

import os
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
MODULE_FILE = HERE.parents[1] / "TuckerSeg.py"
LIBRARY = "TuckerSegLib"
pytest.register_assert_rewrite("Testing.gui.moments")


@pytest.fixture(scope="session")
def application():
    """The runtime, started once; or Slicer itself, where ``in_slicer/checks.py`` runs the tests."""
    if not hasattr(sys.modules.get("slicer"), "app"):
        for package in ("slicer", "PySide6"):
            pytest.importorskip(package, reason=f"needs {package}: pip install slicer-core PySide6-Essentials")
    sys.path.insert(0, str(HERE / "runtime"))
    import host

    return host.start(overlay=os.environ.get("TUCKERSEG_SLICER_PYTHON"))


@pytest.fixture
def slicer_app(application, request, tmp_path_factory, monkeypatch):
    """The application with an empty scene; an error in any slot fails the test.

    The runtime's Python, for processes of their own, is one that has imported PyTorch already; Slicer has its own.
    """
    import pythonqt
    import slicer

    if shutil.which("PythonSlicer") is None:
        programs = tmp_path_factory.mktemp("programs")
        (programs / "PythonSlicer").symlink_to(request.getfixturevalue("warm_python"))
        monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    pythonqt.errors.clear()
    slicer.mrmlScene.Clear(0)
    slicer.util.dialogs.clear()
    yield application
    slicer.mrmlScene.Clear(0)
    application.processEvents()
    assert not pythonqt.errors, pythonqt.errors


RELEASES = ("5.10", "5.12", "6")


def pytest_generate_tests(metafunc):
    """Run what is marked with ``each_release`` by the rules of each release; Slicer itself is of one."""
    if metafunc.definition.get_closest_marker("each_release") and not hasattr(sys.modules.get("slicer"), "app"):
        metafunc.fixturenames.append("slicer_version")
        metafunc.parametrize("slicer_version", RELEASES, indirect=True)


@pytest.fixture(params=RELEASES)
def slicer_version(request, slicer_app):
    """For tests that differ between the releases of Slicer: each of them in turn, by its rules in ``versions``."""
    import versions

    versions.use(versions.VERSIONS[request.param])
    yield versions.current
    versions.use(versions.STRICTEST)


@pytest.fixture
def until(slicer_app):
    """A function that lets the application's events happen until a condition holds."""

    def wait(condition, timeout_s=600.0, shown=lambda: ""):
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, f"this did not happen within {timeout_s:.0f} s; shown: {shown()}"
            slicer_app.processEvents()
            time.sleep(0.005)

    return wait


@pytest.fixture
def module(slicer_app):
    """The module, opened: ``container`` (the panel's page), ``widget``, ``panel``, ``logic``."""
    import host

    container = host.load(str(MODULE_FILE)).widgetRepresentation()
    container.resize(480, 1200)
    container.show()
    container.enter()
    widget = container.self()
    yield SimpleNamespace(container=container, widget=widget, panel=widget.panel, logic=widget.logic)
    container.exit()
    widget.cleanup()
    container.hide()
    host.discard(container)
    slicer_app.processEvents()


@pytest.fixture
def small_model(make_model_folder):
    """A small network of random weights, whose labels carry names of real structures."""
    names = ["background", "spleen", "kidney_right", "kidney_left", "liver", "aorta"]
    return str(make_model_folder(labels={name: value for value, name in enumerate(names)}, patch_shape=(16, 16, 16)))


@pytest.fixture
def said(module, monkeypatch):
    """Everything that the status line has said; between two looks at the label it may change more than once."""
    lines = []
    say = module.panel.context.status.say
    monkeypatch.setattr(module.panel.context.status, "say", lambda words: (lines.append(words), say(words)))
    return lines


@pytest.fixture
def slow_model(make_model_folder):
    """A network whose patches are so small that a run has thousands of them."""
    return str(make_model_folder("Dataset002_Slow", patch_shape=(16, 16, 16)))


@pytest.fixture
def make_ct(slicer_app):
    """A function that adds a volume with blobs in Hounsfield units."""

    def make(shape=(40, 44, 48), name="ct", seed=0, spacing_mm=3.0):
        import slicer

        coarse = np.random.default_rng(seed).normal(0, 200, tuple(size // 4 for size in shape))
        array = coarse.repeat(4, 0).repeat(4, 1).repeat(4, 2).astype(np.int16)
        node = slicer.util.addVolumeFromArray(array, name=name)
        node.SetSpacing(spacing_mm, spacing_mm, spacing_mm)
        return node

    return make


@pytest.fixture
def ready(module, until, small_model, make_ct):
    """The panel with a volume and the small model chosen."""
    panel = module.panel
    until(lambda: panel.context.packages_ready)
    panel.context.change(inputVolume=make_ct(), model=small_model)
    return panel


@pytest.fixture
def make_proxy(make_ct):
    """A function that makes a sequence of frames that differ, and gives its proxy volume, which shows the second."""
    import slicer

    def make(frames=3, **options):
        sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "ct sequence")
        sequence.SetIndexName("time")
        sequence.SetIndexUnit("s")
        for frame in range(frames):
            node = make_ct(seed=frame, **options)
            sequence.SetDataNodeAtValue(node, str(frame))
            slicer.mrmlScene.RemoveNode(node)
        browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
        browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        browser.SetSelectedItemNumber(1)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        return browser.GetProxyNode(sequence)

    return make


class ScriptedWorker:
    """Stands in for the worker: takes requests, and answers those for a segmentation when and as a test says."""

    def __init__(self, python=None, on_log=lambda line: None, server=None):
        from TuckerSegLib.slicer_bridge.client.workspace import make_workspace

        self.folder = make_workspace()
        self.python, self.running, self.busy, self.pid = "python", True, False, None
        self.runs = []

    def start(self):
        """It runs."""

    def request(self, kind, on_event, **fields):
        if kind == "segment":
            self.runs.append((on_event, fields))
        return len(self.runs)

    def cancel(self, number):
        on_event, _ = self.runs[number - 1]
        on_event({"id": number, "event": "cancelled"})

    def wait(self, milliseconds=50):
        import slicer

        slicer.app.processEvents()

    def stop(self):
        from TuckerSegLib.slicer_bridge.client.workspace import remove_workspace

        remove_workspace(self.folder)

    def say(self, **event):
        on_event, _ = self.runs[-1]
        on_event({"id": len(self.runs), **event})

    def answer(self, labels):
        """The result of the run that was asked for last: labels (Z, Y, X); 1 is the liver, 2 the spleen."""
        from Testing.unit.records_of_a_run import STATISTICS
        from TuckerSegLib.records.serialization import to_json
        from TuckerSegLib.records.statistics import Structure

        _, fields = self.runs[-1]
        path = Path(fields["labels"]).with_suffix(".box.npy")
        np.save(path, labels)
        names = {1: "liver", 2: "spleen"}
        statistics = replace(
            STATISTICS,
            volume=fields["volume"]["name"],
            volume_shape=labels.shape,
            seconds={"total": 1.0},
            structures=tuple(Structure(int(each), names[each], 1.0) for each in sorted({*labels.flat} - {0})),
            notes=(),
        )
        box = {"path": str(path), "lower": [0, 0, 0], "upper": list(labels.shape)}
        self.say(event="result", statistics=to_json(statistics), labels=box)


@pytest.fixture
def scripted(slicer_app, monkeypatch, request):
    """The panel of the module, opened, with a scripted worker: ``panel.session.worker``."""
    from TuckerSegLib.slicer_bridge.client import session

    monkeypatch.setattr(session, "WorkerProcess", ScriptedWorker)
    panel = request.getfixturevalue("module").panel
    panel.context.packages_ready = True
    return panel


@pytest.fixture
def play(tmp_path, monkeypatch):
    """What Slicer's Python does in place of the worker; see ``moments.Play``. Its result: a liver in a small volume."""
    from Testing.gui.moments import Play
    from Testing.unit.records_of_a_run import STATISTICS
    from TuckerSegLib.records.serialization import to_json
    from TuckerSegLib.records.statistics import Structure

    labels = np.zeros((8, 8, 8), np.uint8)
    labels[2:5, 2:5, 2:5] = 1
    statistics = replace(STATISTICS, structures=(Structure(1, "liver", 1.0),), notes=())
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return Play(tmp_path, to_json(statistics), labels)


@pytest.fixture(scope="module")
def one_module(application):
    """The module, set up once for all tests of a file, and not entered yet."""
    import host

    container = host.load(str(MODULE_FILE)).widgetRepresentation()
    container.show()
    yield container
    container.self().cleanup()
    container.hide()
    host.discard(container)


@pytest.fixture
def played(play, one_module, slicer_app, make_ct, until):
    """The panel of the module with a played worker, that is warm, and a small volume. Other tests had it before."""
    one_module.enter()
    panel = one_module.self().panel
    panel.context.change(inputVolume=make_ct((8, 8, 8)), model="demo", modelChosen=True, show3D=False)
    panel.context.refresh()
    until(lambda: panel.session.worker.pid and not panel.session.worker.busy, 30)
    yield panel
    panel.session.use_python(None)
    panel.session.close()
    one_module.exit()


@pytest.fixture
def slow_handing_over(monkeypatch):
    """Volumes are handed over in many small pieces."""
    from TuckerSegLib.slicer_bridge.client import volume_transfer
    from TuckerSegLib.slicer_bridge.scene import volumes

    monkeypatch.setattr(volume_transfer, "PIECE_S", -1.0)
    monkeypatch.setattr(volumes, "PIECE_BYTES", 100)
