"""What a person with Slicer runs first (``tools/run_in_slicer.sh``), with the test runtime in Slicer's place."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import unittest
from pathlib import Path
from types import SimpleNamespace

import pytest

GUI = Path(__file__).resolve().parent
ROOT = GUI.parents[2]
SCRIPT = ROOT / "tools" / "run_in_slicer.sh"
SLICER = """#!{python}
import os, sys
options = dict(zip(sys.argv[1:], sys.argv[2:]))
assert "--testing" in options and os.path.isfile(options["--additional-module-paths"] + "/TuckerSeg.py")
sys.path[:0] = [{runtime!r}]
import host
host.start()
host.load(options["--additional-module-paths"] + "/TuckerSeg.py")
for name in ("host", "pythonqt"):
    del sys.modules[name]  # Slicer has no modules of these names
sys.path.remove({runtime!r})
import slicer.util
slicer.util.exit = lambda code: (sys.stdout.flush(), os._exit(code))
script = options["--python-script"]
exec(compile(open(script).read(), script, "exec"), {{"__name__": "__main__"}})
"""


@pytest.fixture
def checks():
    spec = importlib.util.spec_from_file_location("checks", GUI / "in_slicer" / "checks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def start(tmp_path, slicer, *names):
    command = ["bash", str(SCRIPT), *map(str, slicer), *([str(tmp_path / "report"), *names] if slicer else [])]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=600)


@pytest.fixture
def slicer(tmp_path):
    pytest.importorskip("PySide6")
    if os.name == "nt":
        pytest.skip("needs bash and a program that is a script")
    file = tmp_path / "Slicer"
    file.write_text(SLICER.format(python=sys.executable, runtime=str(GUI / "runtime")))
    file.chmod(0o755)
    return file


def test_the_script_starts_slicer_and_writes_one_report(tmp_path, slicer):
    done = start(tmp_path, [slicer], "facts")
    report = (tmp_path / "report" / "report.md").read_text()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "## facts: passed" in report
    assert "Slicer 5.12.3" in report
    assert "torch" in report
    assert report.endswith("Complete: 0 failed.\n")


def test_the_gui_tests_run_in_slicer_s_own_process(tmp_path, slicer, monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", "-k a_script_reads_the_loaded_choice_without_the_panel")
    done = start(tmp_path, [slicer], "tests")
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert "## tests: passed" in (tmp_path / "report" / "report.md").read_text()


@pytest.mark.parametrize("problem", ["no slicer", "no program", "crash"])
def test_the_script_says_what_is_wrong(tmp_path, problem):
    if os.name == "nt":
        pytest.skip("needs bash")
    slicer = {"no slicer": [], "no program": [tmp_path / "Slicer"], "crash": ["/bin/false"]}[problem]
    words = {
        "no slicer": "/path/to/Slicer",
        "no program": "is not a program",
        "crash": "before the report was complete",
    }
    done = start(tmp_path, slicer)
    assert done.returncode != 0
    assert words[problem] in done.stderr


def test_a_check_that_fails_is_reported_and_the_next_one_runs(checks, tmp_path, monkeypatch):
    def fails(folder):
        raise RuntimeError("of no use")

    def skips(folder):
        raise checks.Skipped("pytest is missing")

    monkeypatch.setattr(checks, "CHECKS", {"first": fails, "second": skips, "third": lambda folder: "fine"})
    assert checks.run(tmp_path, []) == 1
    report = (tmp_path / "report.md").read_text()
    for words in ("## first: FAILED", "RuntimeError: of no use", "## second: skipped", "pytest is missing", "fine"):
        assert words in report
    with pytest.raises(SystemExit, match="found fourth"):
        checks.run(tmp_path, ["fourth"])


@pytest.mark.parametrize("passes", [True, False])
def test_the_self_test_is_run_and_its_failure_is_told(checks, slicer_app, tmp_path, monkeypatch, passes):
    class TuckerSegTest(unittest.TestCase):
        def runTest(self):
            self.assertTrue(passes, "nothing was segmented")

    monkeypatch.setitem(sys.modules, "TuckerSeg", SimpleNamespace(TuckerSegTest=TuckerSegTest))
    if passes:
        assert checks.self_test(tmp_path) == "1 test passed"
    else:
        with pytest.raises(AssertionError, match="nothing was segmented"):
            checks.self_test(tmp_path)


def test_the_tests_that_know_the_runtime_are_left_out(checks):
    left_out = set(checks.ONLY_IN_THE_RUNTIME)
    assert left_out <= {file.name for file in GUI.glob("test_*.py")}
    of_the_runtime = re.compile(r"PySide6|\bimport (pythonqt|versions)\b|slicer_version")
    known = {file.name for file in GUI.glob("test_*.py") if of_the_runtime.search(file.read_text(encoding="utf-8"))}
    assert known - left_out == set()


def test_the_tour_uses_the_panel_and_takes_pictures(ready, module, tmp_path, monkeypatch, make_ct):
    monkeypatch.syspath_prepend(str(GUI))
    from tour import Tour

    tour = Tour(tmp_path, module.container)
    tour.choose_volume(make_ct(name="another"))
    assert ready.context.parameters.inputVolume.GetName() == "another"
    tour.choose_rank(0.85)
    assert tour.segment().GetSegmentation().GetNumberOfSegments() > 0
    rows = tour.compare("0.7")
    assert [row.strength for row in rows] == [1.0, 0.7]
    assert tour.pictures == ["panel_before.png", "panel_during.png", "panel_after.png", "panel_compare.png"]
    assert all((tmp_path / name).stat().st_size > 1000 for name in tour.pictures)
