"""The sub-command for applications. It tells of itself, and of what is missing, before anything large is imported."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...worker import serve


def worker(options: argparse.Namespace) -> None:
    """``tuckerseg worker --workspace DIR``."""
    serve(Path(options.workspace), options.idle)
