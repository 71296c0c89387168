"""``tuckerseg repair``: compresses a model and trains it on without labels."""

from __future__ import annotations

import argparse
import contextlib

from ...cache import Cache
from ...image import read_image
from ...models.distillation import repair_model
from ...models.progressive_repair import repair_progressively
from ...models.resolved_job import resolve
from ...training.distillation.settings import RepairSettings
from ..compressed_model import compressed, model_output, tell_written
from ..jobs_from_options import compression_job, model_of, repair_precision
from ..output import say
from ..terminal import TerminalReporter


def repair(options: argparse.Namespace) -> None:
    """``tuckerseg repair OUT --ct CT... --rank R [--progressive RANK...]``."""
    output = model_output(options.output)
    precision = repair_precision(options.precision, options.device)
    settings = RepairSettings(
        options.steps,
        options.learning_rate,
        check_every=options.check_every,
        seed=options.seed,
        precision=precision,
        margin_exponent=options.margin_exponent,
    )
    original = model_of(options)
    volumes = [read_image(path, modality=original.plans.modalities) for path in options.ct]
    training = {
        "state_folder": output.absolute().parent if options.resume else None,
        "threads": options.threads,
        "device": options.device,
    }
    with contextlib.closing(TerminalReporter()) as reporter:
        training["monitor"] = options.monitor.through(reporter)
        if options.progressive:
            resolved, cache = resolve(compression_job(options)), Cache()
            repaired, records = repair_progressively(
                original, resolved, options.progressive, volumes, settings, cache=cache, **training
            )
        else:
            smaller = compressed(options, original, lambda: volumes[0])
            repaired, records = repair_model(smaller, original, volumes, settings, **training)
    repaired.save(output)
    for fold, record in records.items():
        best_agreement = record.agreement[record.best_check]
        say(f"fold {fold}: agreement on held-back crops {record.agreement[0]:.3f} -> {best_agreement:.3f}")
    tell_written(output)
