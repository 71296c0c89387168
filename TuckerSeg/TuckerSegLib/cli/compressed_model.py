"""What the sub-commands that write a compressed model have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from ..cache import Cache
from ..errors import OutputError
from ..image import Image
from ..models.job_compression import compress_for_job
from ..models.model import SegmentationModel
from ..models.resolved_job import resolve
from ..text_files import check_writable
from .jobs_from_options import compression_job
from .output import say


def compressed(
    options: argparse.Namespace, model: SegmentationModel, volume: Callable[[], Image] | None
) -> SegmentationModel:
    """A model compressed as the options ask, or as it is where they ask for nothing.

    Args:
        volume: See ``compress_for_job``.
    """
    return compress_for_job(model, resolve(compression_job(options)), Cache(), options.monitor.quiet(), volume)


def model_output(path: str) -> Path:
    """The file to write a model to.

    Raises:
        OutputError: It has another ending, or cannot be written.
    """
    if Path(path).suffix != ".tuckerseg":
        raise OutputError(f"{path}: a compressed model's file name ends in .tuckerseg.")
    check_writable(path)
    return Path(path)


def tell_written(output: Path) -> None:
    """Print where a model was written."""
    say(f"Written: {output} ({output.stat().st_size / 1e6:.1f} MB)")


def cost_words(model: SegmentationModel) -> str:
    """What a compression made of a model."""
    before, after = model.original_cost, model.cost
    return (
        f"{before.parameters / 1e6:.3f} -> {after.parameters / 1e6:.3f} million parameters, "
        f"{before.macs * 2e-9:.2f} -> {after.macs * 2e-9:.2f} GFLOPs per patch"
    )
