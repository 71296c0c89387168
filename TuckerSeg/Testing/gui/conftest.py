"""The tier that clicks the real buttons: real MRML and real Qt widgets, with a test runtime for the application."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
MODULE_FILE = HERE.parents[1] / "TuckerSeg.py"
LIBRARY = "TuckerSegLib"


@pytest.fixture(scope="session")
def application():
    """The runtime, started once."""
    for package in ("slicer", "PySide6"):
        pytest.importorskip(package, reason=f"needs {package}: pip install slicer-core PySide6-Essentials")
    sys.path.insert(0, str(HERE / "runtime"))
    import host

    return host.start(overlay=os.environ.get("TUCKERSEG_SLICER_PYTHON"))


@pytest.fixture
def slicer_app(application):
    """The application with an empty scene; an error in any slot fails the test."""
    import pythonqt
    import slicer

    pythonqt.errors.clear()
    slicer.mrmlScene.Clear(0)
    slicer.util.dialogs.clear()
    yield application
    slicer.mrmlScene.Clear(0)
    application.processEvents()
    assert not pythonqt.errors, pythonqt.errors


@pytest.fixture(params=["5.10", "5.12", "6"])
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


@pytest.fixture
def small_model(make_model_folder):
    """A small network of random weights, whose labels carry names of real structures."""
    names = ["background", "spleen", "kidney_right", "kidney_left", "liver", "aorta"]
    return str(make_model_folder(labels={name: value for value, name in enumerate(names)}))


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
