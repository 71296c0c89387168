"""``tuckerseg distill``: a narrower network learns what a model gives on CTs without labels."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

from ...image import read_image
from ...models.model import SegmentationModel
from ...models.student import distill_model
from ...training.distillation.settings import RepairSettings
from ..compressed_model import model_output, tell_written
from ..jobs_from_options import model_of, repair_precision
from ..output import say
from ..terminal import TerminalReporter
from ..training_options import FRESH_LEARNING_RATE, PRUNED_LEARNING_RATE


def distill(options: argparse.Namespace) -> None:
    """``tuckerseg distill MODEL --base 16 --ct CT... --out FILE``."""
    output = model_output(options.out)
    settings = RepairSettings(
        options.steps,
        _learning_rate(options),
        check_every=options.check_every,
        seed=options.seed,
        precision=repair_precision(options.precision, options.device),
        optimizer=options.optimizer,
    )
    original = model_of(options)
    volumes = [read_image(path, modality=original.plans.modalities) for path in options.ct]
    with contextlib.closing(TerminalReporter()) as reporter:
        student, record = distill_model(
            original,
            volumes,
            settings,
            options.base,
            options.stages,
            start=options.start,
            state_folder=output.absolute().parent if options.resume else None,
            threads=options.threads,
            device=options.device,
            monitor=options.monitor.through(reporter),
        )
    student.save(output)
    best = record.agreement[record.best_check]
    say(f"agreement on held-back crops {record.agreement[0]:.3f} -> {best:.3f}")
    say(_sizes(original, student))
    tell_written(Path(output))


def _learning_rate(options: argparse.Namespace) -> float:
    if options.learning_rate is not None:
        return options.learning_rate
    return FRESH_LEARNING_RATE if options.start == "fresh" else PRUNED_LEARNING_RATE


def _sizes(original: SegmentationModel, student: SegmentationModel) -> str:
    before, after = original.cost, student.cost
    return (
        f"{original.name}: {before.parameters / 1e6:.3f} -> {after.parameters / 1e6:.3f} million parameters, "
        f"{before.macs * 2e-9:.2f} -> {after.macs * 2e-9:.2f} GFLOPs per patch"
    )
