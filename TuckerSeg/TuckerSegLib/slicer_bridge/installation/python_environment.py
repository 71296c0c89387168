"""Which Python runs the worker and its checks, and what that Python sees."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import qt
import slicer

LIBRARY_PARENT = Path(__file__).resolve().parents[3]


def python_executable() -> str:
    """Slicer's own Python, as a process of its own."""
    return shutil.which("PythonSlicer") or sys.executable


def python_environment(external: bool) -> qt.QProcessEnvironment:
    """Environment in which the library is found; another Python than Slicer's must not see Slicer's own packages."""
    if external:
        environment = qt.QProcessEnvironment()
        for name, value in slicer.util.startupEnvironment().items():
            environment.insert(name, value)
        environment.remove("PYTHONHOME")
        environment.insert("PYTHONPATH", str(LIBRARY_PARENT))
    else:
        environment = qt.QProcessEnvironment.systemEnvironment()
        paths = [str(LIBRARY_PARENT), environment.value("PYTHONPATH", "")]
        environment.insert("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    environment.insert("PYTHONUNBUFFERED", "1")
    environment.insert("PYTHONIOENCODING", "utf-8")
    return environment
