"""``tuckerseg repair``: compresses a model and trains it on without labels."""

from __future__ import annotations

import argparse
import contextlib

from ...image import read_image
from ...models.distillation import repair_model
from ...training.distillation.settings import RepairSettings
from ..compressed_model import compressed, model_output, tell_written
from ..jobs_from_options import model_of, repair_precision
from ..output import say
from ..terminal import TerminalReporter


def repair(options: argparse.Namespace) -> None:
    """``tuckerseg repair OUT --ct CT... --rank R``."""
    output = model_output(options.output)
    precision = repair_precision(options.precision, options.device)
    settings = RepairSettings(
        options.steps,
        options.learning_rate,
        check_every=options.check_every,
        seed=options.seed,
        precision=precision,
    )
    original = model_of(options)
    volumes = [read_image(path, modality=original.plans.modalities) for path in options.ct]
    smaller = compressed(options, original, lambda: volumes[0])
    with contextlib.closing(TerminalReporter()) as reporter:
        repaired, records = repair_model(
            smaller,
            original,
            volumes,
            settings,
            state_folder=output.absolute().parent if options.resume else None,
            threads=options.threads,
            device=options.device,
            monitor=options.monitor.through(reporter),
        )
    repaired.save(output)
    for fold, record in records.items():
        best_agreement = record.agreement[record.best_check]
        say(f"fold {fold}: agreement on held-back crops {record.agreement[0]:.3f} -> {best_agreement:.3f}")
    tell_written(output)
