"""The test runtime against what the real PythonQt did: recorded results of small pieces of code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

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
DIFFERENT = 10  # README.md of the runtime lists them: what a module must not write


def test_the_runtime_behaves_as_pythonqt_but_for_the_listed_cases():
    pytest.importorskip("PySide6")
    runtime = HERE / "runtime"
    code = RUN.format(runtime=str(runtime), conformance=str(runtime / "conformance"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=600)
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
