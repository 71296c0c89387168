"""Runs pip in Slicer's own Python, with Slicer's own functions, while the application's events go on."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import slicer

POLL_S = 0.02


def run_pip(arguments: Sequence[str], on_line: Callable[[str], None]) -> int:
    """Run ``pip install`` with these arguments and wait.

    Args:
        on_line: Receives each line that pip writes.

    Returns:
        pip's exit code.
    """
    packaging = _slicer_packaging()
    if packaging is None:
        return _run_with_util(list(arguments), on_line)
    exit_codes: list[int] = []
    packaging.pip_install(
        list(arguments),
        blocking=False,
        show_progress=False,
        logCallback=on_line,
        completedCallback=exit_codes.append,
    )
    while not exit_codes:
        slicer.app.processEvents()
        time.sleep(POLL_S)
    return exit_codes[0]


@contextlib.contextmanager
def pip_constrained_by(constraints: Path) -> Iterator[None]:
    """Let every pip that is started meanwhile, by whomever, keep to a file of constraints."""
    before = os.environ.get("PIP_CONSTRAINT")
    os.environ["PIP_CONSTRAINT"] = constraints.as_uri()  # pip splits this variable at blanks, which a URI has not
    try:
        yield
    finally:
        if before is None:
            del os.environ["PIP_CONSTRAINT"]
        else:
            os.environ["PIP_CONSTRAINT"] = before


def _slicer_packaging() -> ModuleType | None:
    """Slicer's own module for pip, since 5.12."""
    try:
        return importlib.import_module("slicer.packaging")
    except ImportError:
        return None


def _run_with_util(arguments: list[str], on_line: Callable[[str], None]) -> int:
    """Slicer 5.10: prints pip's lines, lets events happen after each, and raises where pip fails."""
    try:
        with contextlib.redirect_stdout(_Lines(on_line)):
            slicer.util.pip_install(arguments)
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


class _Lines(io.TextIOBase):
    """Hands out what is printed, line by line; what the receiver prints goes where it would have gone."""

    def __init__(self, on_line: Callable[[str], None]):
        self._on_line = on_line
        self._begun = ""
        self._outer = sys.stdout

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        with contextlib.redirect_stdout(self._outer):
            for line in lines:
                self._on_line(line)
        return len(text)
