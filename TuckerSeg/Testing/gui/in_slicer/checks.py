"""What a person who has Slicer runs first: facts, the self-test, the gui tests and a tour of the panel, as one report.

``tools/run_in_slicer.sh`` starts it in Slicer. Each check is written down as soon as it has ended, so that a crash
leaves what came before it.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import time
import traceback
import unittest
from collections.abc import Callable
from pathlib import Path

GUI = Path(__file__).resolve().parents[1]
MODULE_FOLDER = GUI.parents[1]
# Not in Slicer: what tests the runtime itself or a release that it plays, plays an installation, or needs PySide6.
ONLY_IN_THE_RUNTIME = (
    "test_in_slicer.py",
    "test_installation.py",
    "test_installation_plan.py",
    "test_lifetime.py",
    "test_loading.py",
    "test_other_python.py",
    "test_panel_looks.py",
    "test_releases.py",
    "test_runtime_conformance.py",
    "test_sample_data.py",
    "test_servers.py",
)
RANK_RATIO = 0.85
FURTHER_RANKS = "0.85, 0.7"


class Skipped(Exception):
    """Why a check was not done, and what would make it possible."""


def facts(folder: Path) -> str:
    """Which Slicer this is, and what is installed in it."""
    import slicer

    from TuckerSegLib.slicer_bridge.installation.dependencies import check_dependencies, report_text

    application = slicer.app
    release = f"{application.applicationName} {application.applicationVersion}, revision {application.revision}"
    return f"```\n{release}\n{report_text(check_dependencies())}\n```"


def self_test(folder: Path) -> str:
    """The module's own test, as Slicer's *Reload and Test* runs it."""
    import TuckerSeg

    _needs_packages()
    outcome = unittest.TestResult()
    TuckerSeg.TuckerSegTest().run(outcome)
    for _, trace in (*outcome.errors, *outcome.failures):
        raise AssertionError(trace)
    return f"{outcome.testsRun} test passed"


def gui_tests(folder: Path) -> str:
    """The tests of ``TuckerSeg/Testing/gui`` that are not about the runtime that plays Slicer."""
    _needs_packages()
    if importlib.util.find_spec("pytest") is None:
        raise Skipped("pytest is not installed in Slicer: `PythonSlicer -m pip install pytest`")
    import pytest

    files = [str(file) for file in sorted(GUI.glob("test_*.py")) if file.name not in ONLY_IN_THE_RUNTIME]
    log = folder / "gui_tests.xml"
    # Names of the tests' modules begin below this folder: one that began with TuckerSeg would hide the module.
    place = [f"--rootdir={GUI.parent}", f"--confcutdir={GUI.parent}", "--import-mode=importlib"]
    code = pytest.main([*files, *place, "-p", "no:cacheprovider", f"--junitxml={log}"])
    if code != 0:
        raise AssertionError(f"pytest ended with {int(code)}; see {log.name} and slicer.log")
    return f"{len(files)} files of tests passed; {log.name}"


def tour(folder: Path) -> str:
    """The panel, used on the built-in volume as a user would, with pictures."""
    import host
    import slicer
    from tour import Tour

    from TuckerSegLib.slicer_bridge.scene.sample_data import load_built_in_volume

    _needs_packages()
    host.start()
    module = host.load(str(MODULE_FOLDER / "TuckerSeg.py"))
    if slicer.util.mainWindow() is not None:
        slicer.util.selectModule("TuckerSeg")
    container = module.widgetRepresentation()
    container.show()
    container.enter()
    panel_tour = Tour(folder, container)
    try:
        panel_tour.choose_volume(load_built_in_volume())
        panel_tour.choose_rank(RANK_RATIO)
        panel_tour.segment()
        panel_tour.compare(FURTHER_RANKS)
        if slicer.util.mainWindow() is not None:
            panel_tour.save_picture(slicer.util.mainWindow(), "window.png")
    finally:
        panel_tour.close()
    return "\n".join(f"![{name}]({name})" for name in panel_tour.pictures)


CHECKS: dict[str, Callable[[Path], str]] = {
    "facts": facts,
    "self-test": self_test,
    "tests": gui_tests,
    "tour": tour,
}


def run(folder: Path, names: list[str]) -> int:
    """Do the named checks, all where none is named; write ``report.md``.

    Returns:
        How many failed.
    """
    unknown = set(names) - set(CHECKS)
    if unknown:
        raise SystemExit(f"There are the checks {', '.join(CHECKS)}; found {', '.join(sorted(unknown))}.")
    report = folder / "report.md"
    report.write_text("# TuckerSeg in Slicer\n", encoding="utf-8")
    failed = 0
    for name in names or CHECKS:
        begin = time.monotonic()
        _write(report, f"\n## {name}: ")
        try:
            outcome, words = "passed", CHECKS[name](folder)
        except Skipped as reason:
            outcome, words = "skipped", str(reason)
        except BaseException:  # whatever it is, the report tells of it and the next check begins
            outcome, words = "FAILED", f"```\n{traceback.format_exc()}```"
            failed += 1
        _write(report, f"{outcome} ({time.monotonic() - begin:.0f} s)\n\n{words}\n")
    _write(report, f"\nComplete: {failed} failed.\n")
    return failed


def main() -> None:
    """Called in Slicer by ``tools/run_in_slicer.py``; ends the application with 1 where something failed."""
    import slicer.util

    _import_the_real_host()
    failed = run(Path(os.environ["TUCKERSEG_REPORT"]), os.environ.get("TUCKERSEG_CHECKS", "").split())
    slicer.util.exit(1 if failed else 0)


def _import_the_real_host() -> None:
    """``host`` and ``pythonqt`` of this folder; all else of the runtime is found in its own."""
    sys.path[:0] = [str(GUI / "in_slicer"), str(GUI / "runtime"), str(GUI), str(MODULE_FOLDER)]
    for name in ("host", "pythonqt"):
        importlib.import_module(name)
    sys.path.remove(str(GUI / "in_slicer"))


def _needs_packages() -> None:
    from TuckerSegLib.slicer_bridge.installation.dependencies import missing_packages

    missing = missing_packages()
    if missing:
        raise Skipped(f"{', '.join(missing)} missing: start Slicer, open the module TuckerSeg and press Install")


def _write(report: Path, text: str) -> None:
    with report.open("a", encoding="utf-8") as file:
        file.write(text)
