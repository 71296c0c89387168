"""The tier that clicks the real buttons: real MRML and real Qt widgets, with a test runtime for the application."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace

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

    return host.start()


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


@pytest.fixture
def until(slicer_app):
    """A function that lets the application's events happen until a condition holds."""

    def wait(condition, timeout_s=60.0, shown=lambda: ""):
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
