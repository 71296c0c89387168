"""Qt objects live as long as PythonQt lets them, and none that the bridge makes dies under Qt's hands."""

from __future__ import annotations

import ast
import gc
import sys
import weakref
from pathlib import Path

import pytest

MODULE_FOLDER = Path(__file__).resolve().parents[2]
BRIDGE = MODULE_FOLDER / "TuckerSegLib" / "slicer_bridge"


@pytest.fixture
def errors(slicer_app):
    """What the runtime has to complain of; emptied at the end, since these tests provoke it."""
    import pythonqt

    yield pythonqt.errors
    pythonqt.errors.clear()


@pytest.fixture
def no_collection():
    """Python's collector of cycles would hide what references alone do."""
    gc.disable()
    yield
    gc.enable()


def timer(parent=None):
    import qt

    timer = qt.QTimer(parent) if parent is not None else qt.QTimer()
    timer.setSingleShot(True)
    return timer


def test_an_object_without_a_parent_dies_with_its_last_reference(slicer_app, no_collection, until):
    calls = []
    lost, kept = timer(), timer()
    lost.connect("timeout()", lambda: calls.append("lost"))
    kept.connect("timeout()", lambda: calls.append("kept"))
    reference = weakref.ref(lost)
    lost.start(0)
    kept.start(0)
    del lost
    assert reference() is None
    until(lambda: calls)
    assert calls == ["kept"]


def test_an_object_with_a_parent_lives_on_without_references(slicer_app, no_collection, until):
    calls = []
    child = timer(slicer_app)
    child.connect("timeout()", lambda: calls.append("child"))
    child.start(0)
    del child
    until(lambda: calls)


@pytest.mark.parametrize("also_later", [False, True])
def test_losing_the_last_reference_within_its_own_signal_is_an_error(errors, no_collection, until, also_later):
    holder, calls = {"timer": timer()}, []

    def drop():
        dropped = holder.pop("timer")
        if also_later:
            dropped.deleteLater()  # saves nothing: the reference goes first
        calls.append("dropped")

    holder["timer"].connect("timeout()", drop)
    holder["timer"].start(0)
    until(lambda: calls)
    assert [type(error) for error in errors] == [ReferenceError]
    assert "A QTimer without a parent lost its last reference while its signal 'timeout()'" in str(errors[0])


def test_an_object_dropped_within_the_signal_of_its_child_is_an_error(errors, no_collection):
    import qt

    holder = {"dialog": qt.QDialog()}
    button = qt.QPushButton(holder["dialog"])
    button.connect("clicked()", holder.clear)
    button.click()
    assert [type(error) for error in errors] == [ReferenceError]


def test_a_parent_and_delete_later_are_enough(errors, slicer_app, no_collection, until):
    import qt

    holder = {"timer": timer(slicer_app)}
    before = len(slicer_app.findChildren(qt.QTimer))
    holder["timer"].connect("timeout()", lambda: holder.pop("timer").deleteLater())
    holder["timer"].start(0)
    until(lambda: len(slicer_app.findChildren(qt.QTimer)) == before - 1)
    assert errors == []


def test_nothing_can_be_read_from_an_object_that_qt_has_deleted(slicer_app):
    deleted = timer(slicer_app)
    deleted.deleteLater()
    slicer_app.processEvents()
    assert not deleted
    with pytest.raises(ValueError, match="of a destroyed QTimer"):
        deleted.start(1)
    with pytest.raises(ValueError, match="of a destroyed QTimer"):
        deleted.interval = 5


def test_every_qt_object_that_the_module_makes_has_a_parent(slicer_app):
    """A class of Qt, CTK or MRML's widgets that is made in the bridge is given a parent, or is no QObject."""
    import ctk
    import qt
    import slicer

    modules = {"qt": qt, "ctk": ctk, "slicer": slicer}
    made = []
    for file in (*BRIDGE.rglob("*.py"), MODULE_FOLDER / "TuckerSeg.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            source = node.func.value
            if not (isinstance(source, ast.Name) and source.id in modules):
                continue
            kind = getattr(modules[source.id], node.func.attr, None)
            if isinstance(kind, type) and issubclass(kind, qt.QObject):
                made.append((node.func.attr, bool(node.args or node.keywords), f"{file.name}:{node.lineno}"))
    assert {name for name, *_ in made} >= {"QProcess"}
    assert [each for each in made if not each[1]] == []


def processes(application):
    import qt

    return application.findChildren(qt.QProcess)


def test_a_check_leaves_no_process_behind(slicer_app, until):
    from TuckerSegLib.slicer_bridge.installation.dependencies import DependencyCheck

    reports = []
    for python in ("/nowhere/python", sys.executable):
        DependencyCheck(reports.append, python).start()  # nobody holds the check itself
    until(lambda: len(reports) == 2)
    stopped = DependencyCheck(reports.append)
    stopped.start()
    stopped.stop()
    until(lambda: processes(slicer_app) == [])
    assert len(reports) == 2


@pytest.mark.each_release
def test_a_worker_leaves_no_process_behind(slicer_app, until):
    from TuckerSegLib.slicer_bridge.client.worker_process import WorkerProcess

    events = []
    lost = WorkerProcess("/nowhere/python")
    lost.request("devices", events.append)
    until(lambda: events)
    assert "could not be started" in events[0]["message"]
    stopped = WorkerProcess()
    stopped.start()
    for worker in (lost, stopped):
        worker.stop()
    until(lambda: processes(slicer_app) == [])


def test_the_late_end_of_a_worker_is_not_taken_for_the_end_of_the_next(slicer_app, until, monkeypatch):
    import qt

    from TuckerSegLib.slicer_bridge.client.worker_process import WorkerProcess

    worker, events = WorkerProcess(), []
    worker.request("devices", events.append)
    with monkeypatch.context() as patch:
        patch.setattr(qt.QProcess, "waitForFinished", lambda self, milliseconds: False)  # a system that is slow to kill
        worker.stop()
    assert [event["event"] for event in events] == ["cancelled"]
    worker.start()
    until(lambda: len(processes(slicer_app)) == 1)
    assert worker.running
    worker.stop()


def test_a_delay_calls_once_after_the_last_start(slicer_app, until):
    from TuckerSegLib.slicer_bridge.client.delay import Delay

    calls = []
    asked, given_up = Delay(0, lambda: calls.append("asked")), Delay(0, lambda: calls.append("given up"))
    for delay in (asked, given_up, asked):
        delay.start()
    given_up.stop()
    later = Delay(20, lambda: calls.append("later"))
    later.start()
    until(lambda: "later" in calls)
    assert calls == ["asked", "later"]
