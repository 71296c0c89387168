"""Another Python for the worker: taken when its path is complete and a program, checked, and given back."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest


@pytest.fixture
def python_line(module, until):
    """The line of the path as ``widget``, and a function that types into it."""
    import qt
    from PySide6.QtTest import QTest

    until(lambda: module.panel.context.packages_ready)
    path_edit = module.panel.ui.pythonPathLineEdit
    line_edit = path_edit.comboBox().lineEdit()

    def type_text(text, ends=True):
        line_edit.selectAll()
        QTest.keyClicks(line_edit, text)
        if ends:
            QTest.keyClick(line_edit, qt.Qt.Key_Return)

    yield SimpleNamespace(widget=path_edit, type_text=type_text)
    module.panel.ui.pythonResetButton.click()


@pytest.fixture
def checked(monkeypatch, slicer_app):
    """Pythons for which a check was started; none is run."""
    from TuckerSegLib.slicer_bridge.panel import dependencies_section

    pythons = []

    class NoCheck:
        running = False

        def __init__(self, on_report, python=None):
            self._python = python

        def start(self):
            pythons.append(self._python)

        def stop(self):
            pass

    monkeypatch.setattr(dependencies_section, "DependencyCheck", NoCheck)
    return pythons


def chosen(module):
    return module.panel.dependencies._python.path


def test_a_path_is_taken_when_its_editing_has_ended(checked, module, python_line):
    heard = []
    python_line.widget.connect("currentPathChanged(QString)", heard.append)
    python_line.type_text(sys.executable, ends=False)
    assert heard[-1] == sys.executable
    assert len(heard) == len(sys.executable)  # CTK tells of every key
    assert (chosen(module), checked) == (None, [])
    python_line.type_text(sys.executable)
    assert (chosen(module), checked) == (sys.executable, [sys.executable])
    python_line.type_text(sys.executable)
    assert checked == [sys.executable]  # nothing new


def test_a_path_that_was_browsed_for_is_taken_at_once(checked, module, python_line):
    python_line.widget.setCurrentPath(sys.executable)
    assert (chosen(module), checked) == (sys.executable, [sys.executable])


@pytest.mark.parametrize("kind", ["nothing", "folder", "document"])
def test_what_is_no_program_is_not_taken(checked, module, python_line, tmp_path, kind):
    path = {"nothing": tmp_path / "python", "folder": tmp_path, "document": tmp_path / "notes.txt"}[kind]
    if kind == "document":
        path.write_text("notes")
    python_line.type_text(str(path))
    assert (chosen(module), checked) == (None, [])
    assert module.panel.ui.dependenciesText.plainText.startswith(f"'{path}' is not a program")


def test_reset_goes_back_to_slicers_own_python(checked, module, python_line):
    python_line.widget.setCurrentPath(sys.executable)
    heard = []
    python_line.widget.connect("currentPathChanged(QString)", heard.append)
    python_line.widget.setCurrentPath("")
    assert (chosen(module), heard) == (sys.executable, [])  # CTK tells nothing of an empty text
    module.panel.ui.pythonResetButton.click()
    assert chosen(module) is None
    assert module.logic.session._python is None
    assert module.panel.context.packages_ready


def test_reset_clears_a_path_that_was_not_taken(checked, module, python_line, tmp_path):
    python_line.type_text(str(tmp_path))
    module.panel.ui.pythonResetButton.click()
    assert python_line.widget.currentPath == ""
    assert checked == []


def test_a_program_that_cannot_be_started_is_told_and_nothing_crashes(module, python_line, tmp_path, until):
    broken = tmp_path / "python"
    broken.write_bytes(b"\x7fELF, but not much more")
    broken.chmod(0o755)
    python_line.type_text(str(broken))
    ui = module.panel.ui
    until(lambda: "could not be started" in ui.dependenciesText.plainText)
    assert ui.dependenciesCheckButton.enabled
    assert not module.panel.context.packages_ready
    ui.pythonResetButton.click()
    assert module.panel.context.packages_ready
