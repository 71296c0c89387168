"""``tuckerseg finetune``: compresses a model and trains it on with labels."""

from __future__ import annotations

import argparse
import contextlib

from ...files.atomic_writes import temporary_folder
from ...image import read_image
from ...models.finetuning import TrainingPlace, calibration_case, finetune_model
from ...training.finetuning.dataset import read_raw_dataset
from ...training.finetuning.settings import FineTuningRecord, FineTuningSettings
from ..compressed_model import compressed, model_output, tell_written
from ..jobs_from_options import model_of
from ..output import say
from ..terminal import TerminalReporter


def finetune(options: argparse.Namespace) -> None:
    """``tuckerseg finetune OUT --dataset FOLDER --rank R``."""
    output = model_output(options.output).absolute()
    settings = FineTuningSettings(
        epochs=options.epochs,
        iterations=options.iterations,
        learning_rate=options.learning_rate,
        batch_size=options.batch_size,
        validation_fraction=options.validation_fraction,
        batch_dice=options.batch_dice,
        seed=options.seed,
    )
    model = model_of(options)
    dataset = read_raw_dataset(options.dataset, model.plans)
    example = calibration_case(dataset, settings)
    model = compressed(options, model, lambda: read_image(example.images, modality=model.plans.modalities))
    # Beside the result, because the prepared cases are larger than some systems' temporary folder.
    with temporary_folder(output.parent) as store, contextlib.closing(TerminalReporter()) as reporter:
        place = TrainingPlace(options.device, options.threads, store, output if options.resume else None)
        tuned, records = finetune_model(model, dataset, settings, place, options.monitor.through(reporter))
    tuned.save(output)
    for fold, record in records.items():
        say(f"fold {fold}: {_outcome(record)}")
    tell_written(output)
    if options.resume:
        states = ", ".join(str(place.state_file(fold)) for fold in records)
        say(f"Kept to go on from with more epochs, else to be removed: {states}")


def _outcome(record: FineTuningRecord) -> str:
    dice = f"validation Dice {record.dice_before:.4f} -> {record.dice_after:.4f}"
    if record.best_epoch == 0:
        return f"{dice}: no epoch was better than the start, whose weights were kept"
    return f"{dice} (epoch {record.best_epoch} of {record.epochs_done})"
