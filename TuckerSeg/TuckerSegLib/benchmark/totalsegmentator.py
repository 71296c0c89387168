"""TotalSegmentator as its user runs it: configured, never changed.

A home folder of its own holds the weights where it looks for them, and a config.json that sends no usage statistics,
so nothing is downloaded or sent.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from ..text_files import write_text


def start_command(python: Path) -> list[Path | str]:
    """How its program is started in the environment of a Python; its options follow."""
    program = python.parent / "TotalSegmentator"
    return [program] if os.path.exists(program) else [python, "-m", "totalsegmentator.bin.TotalSegmentator"]


def environment(home: Path) -> dict[str, str]:
    """Environment variables for it: the caller's, without what leads a Python to other packages, and its home."""
    variables = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    return {**variables, "TOTALSEG_HOME_DIR": str(home)}


def results_folder(home: Path) -> Path:
    """Folder in its home that holds the models, as nnU-Net's results folder does."""
    return home / "nnunet" / "results"


def write_settings(home: Path) -> None:
    """Write the settings with which it sends nothing; an existing folder's models are kept."""
    home.mkdir(parents=True, exist_ok=True)
    settings = {
        "totalseg_id": "benchmark",
        "send_usage_stats": False,
        "prediction_counter": 0,
        "statistics_disclaimer_shown": True,
    }
    write_text(home / "config.json", json.dumps(settings))
