"""The check inside the application: a quick look, a child process that does not block, words for the panel."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


@pytest.fixture
def dependencies(slicer_app):
    from TuckerSegLib.slicer_bridge.installation import dependencies

    return dependencies


def test_the_quick_look_finds_all_packages_and_imports_none(dependencies):
    before = set(sys.modules)
    assert dependencies.missing_packages() == []
    assert not {"torch", "nnunetv2", "openvino", "tensorly"} & (set(sys.modules) - before)


def test_the_quick_look_sees_a_package_that_is_not_there(dependencies, monkeypatch):
    states = {state.name: state for state in dependencies.presence()}
    assert states["tensorly"].version is not None
    monkeypatch.delitem(sys.modules, "tensorly", raising=False)
    monkeypatch.setattr(sys, "path", [])
    assert "tensorly" in dependencies.missing_packages()


def test_the_quick_look_sees_metadata_whose_files_are_gone(dependencies, monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "tensorly", raising=False)
    folder = tmp_path / "tensorly-0.10.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: tensorly\nVersion: 0.10.0\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    state = next(state for state in dependencies.presence() if state.name == "tensorly")
    assert (state.version, state.culprit) == ("0.10.0", "tensorly")
    assert "half" in state.error


def test_a_version_that_is_too_old_or_excluded_is_unmet(dependencies):
    states = [
        dependencies.PackageState(item.name, "2.9.1" if item.name == "torch" else "9999")
        for item in dependencies.requirements()
    ]
    assert dependencies.unmet(states) == {"torch": "2.9.1 is installed, >=2.2,!=2.9.* is needed"}


def test_a_version_of_the_application_s_own_is_taken_as_it_is(dependencies):
    states = [dependencies.PackageState(item.name, "9999") for item in dependencies.requirements()]
    own = dependencies.PackageState("SimpleITK", "2.5.0rc1.dev368-gabcdef")
    assert dependencies.unmet([state for state in states if state.name != "SimpleITK"] + [own]) == {}


def test_a_check_imports_everything_in_another_process(dependencies):
    report = dependencies.check_dependencies()
    assert dependencies.is_ready(report), dependencies.report_text(report)
    text = dependencies.report_text(report)
    assert report.executable in text
    assert all(item.name in text for item in dependencies.requirements())


def test_a_check_does_not_block(dependencies, until):
    reports = []
    check = dependencies.DependencyCheck(reports.append)
    check.start()
    check.start()  # runs already: ignored
    assert check.running
    assert reports == []
    until(lambda: reports)
    assert len(reports) == 1
    assert not check.running


def test_a_check_that_was_stopped_reports_nothing(dependencies, slicer_app):
    reports = []
    check = dependencies.DependencyCheck(reports.append)
    check.start()
    check.stop()
    slicer_app.processEvents()
    assert not check.running
    assert reports == []


def test_a_python_that_does_not_exist_is_a_result_in_words(dependencies, tmp_path):
    report = dependencies.check_dependencies(str(tmp_path / "nowhere" / "python"))
    assert not dependencies.is_ready(report)
    assert "could not be started" in dependencies.report_text(report)


def test_a_program_that_is_no_python_is_a_result_in_words(dependencies):
    report = dependencies.check_dependencies("/bin/false")
    assert not dependencies.is_ready(report)
    assert "exit code 1" in dependencies.report_text(report)


def test_another_python_sees_nothing_of_this_one(dependencies, monkeypatch, tmp_path):
    import venv

    venv.create(tmp_path / "python", with_pip=False, symlinks=True)
    monkeypatch.setenv("PYTHONPATH", next(path for path in sys.path if path.endswith("site-packages")))
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))  # Slicer's: with it, another Python could not even start
    executable = next(Path(tmp_path / "python").glob("*/python"))
    report = dependencies.check_dependencies(str(executable))
    assert report.failure == ""
    assert {state.name for state in report.missing} == {item.name for item in dependencies.requirements()}
    assert "torch: not installed" in dependencies.report_text(report)


def test_a_python_that_is_too_old_is_not_ready(dependencies):
    states = tuple(dependencies.PackageState(item.name, "9999") for item in dependencies.requirements())
    report = dependencies.DependencyReport(python="3.9.10", packages=states)
    assert not dependencies.is_ready(report)
    assert "3.11 or newer" in dependencies.report_text(report)
