"""The sub-command that compares label files. No network is run, so torch is not imported."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...evaluation.cases import EvaluationSpec
from ..evaluate import report


def evaluate(options: argparse.Namespace) -> None:
    """``tuckerseg evaluate PRED REF --out CSV``."""
    spec = EvaluationSpec(options.tolerance_mm, options.minimum_voxels, options.labels)
    report(Path(options.prediction), Path(options.reference), spec, options.out, options.json)
