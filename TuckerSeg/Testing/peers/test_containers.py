"""The command line's image, built and run; skipped where no docker answers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from TuckerSegLib import __version__

ROOT = Path(__file__).resolve().parents[3]


def answers() -> bool:
    """Whether a docker daemon is there."""
    return (
        shutil.which("docker") is not None and subprocess.run(["docker", "info"], capture_output=True).returncode == 0
    )


@pytest.mark.skipif(not answers(), reason="needs docker, with its daemon running")
def test_the_image_is_built_and_says_its_version():
    built = subprocess.run(["docker", "build", "--quiet", str(ROOT)], capture_output=True, encoding="utf-8")
    assert built.returncode == 0, built.stderr[-3000:]
    run = ["docker", "run", "--rm", built.stdout.strip(), "--version"]
    assert subprocess.run(run, capture_output=True, encoding="utf-8").stdout.strip() == f"tuckerseg {__version__}"
