"""Sub-commands that measure what compression costs."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...analysis.layer_reconstruction import RankGrid
from ...image import read_image
from ...training.distillation.settings import RepairSettings
from .. import explore as exploring
from .. import layer_errors as reconstructing
from ..options import cases_of, inference_of, model_of, repair_precision, strengths_of


def explore(options: argparse.Namespace) -> None:
    """``tuckerseg explore CT... --factors 0.7,0.5 --policies paper,auto --out DIR``."""
    model = model_of(options)
    volumes = [read_image(path, modality=model.plans.modalities) for path in options.ct]
    references = [read_image(path, missing_value=0.0) for path in options.reference]
    cases = cases_of(volumes, references)
    exploring.explore(
        model,
        cases,
        strengths_of(options.factors),
        [name.strip() for name in options.policies.split(",")],
        inference_of(options),
        read_image(options.calibrate_on, modality=model.plans.modalities) if options.calibrate_on else None,
        RepairSettings(options.repair_steps, precision=repair_precision()),
        Path(options.out),
        options.monitor,
    )


def reconstruct(options: argparse.Namespace) -> None:
    """``tuckerseg reconstruct --model M --ct CT --layer PATTERN --multiple 8 --out DIR``."""
    model = model_of(options)
    reconstructing.reconstruct(
        model,
        RankGrid(options.multiple, tuple(options.layer)),
        read_image(options.ct, modality=model.plans.modalities) if options.ct else None,
        Path(options.out),
        options.monitor,
    )
