"""Damaged inputs, the same few every time: each is answered with a result or an error that a user understands.

They are played in a process of their own, see ``run.py``; ``make fuzz`` plays new ones.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


def _target_names() -> tuple[str, ...]:
    """What ``targets/__init__.py`` lists, read without importing it: the fuzzer's modules are its process's own."""
    for node in ast.parse((HERE / "targets" / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "NAMES":
            return ast.literal_eval(node.value)
    raise AssertionError("targets/__init__.py lists no targets")


@pytest.fixture(scope="module")
def short_round(tmp_path_factory):
    """What the short round found, and what it printed."""
    pytest.importorskip("hypothesis", reason="needs hypothesis: pip install hypothesis")
    report = tmp_path_factory.mktemp("fuzz") / "report.json"
    command = [sys.executable, str(HERE / "run.py"), "--short", "--report", str(report)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace")
    assert report.exists(), done.stdout
    return json.loads(report.read_text(encoding="utf-8")), done.stdout


@pytest.mark.parametrize("name", _target_names())
def test_damaged_inputs_are_answered_with_a_result_or_a_clear_error(name, short_round):
    report, printed = short_round
    findings = {where: words for where, words in report["findings"].items() if where.split(":")[0] in (name, "death")}
    assert not findings, "\n".join(findings.values())
    examples, _ = report["tried"].get(name, (0, 0))
    assert examples > 0, printed


def test_some_damaged_inputs_still_give_a_result_so_that_the_laws_of_results_are_tried(short_round):
    report, printed = short_round
    assert sum(results for _, results in report["tried"].values()) > 50, printed


def test_what_the_fuzzer_looks_for_is_seen(tmp_path):
    """Its guard, against the very acts: whoever reads that nothing was found should know that something can be."""
    pytest.importorskip("hypothesis", reason="needs hypothesis: pip install hypothesis")
    done = subprocess.run(
        [sys.executable, str(HERE / "check_guard.py"), str(tmp_path)], capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stdout + done.stderr
