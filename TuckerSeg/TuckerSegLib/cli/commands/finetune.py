"""``tuckerseg finetune``: compresses a model and trains it on with labels, or prunes it while it trains."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path

from ...analysis.channel_plot import draw_channels
from ...errors import SpecError
from ...files.atomic_writes import temporary_folder
from ...files.names import safe_name
from ...image import read_image
from ...models.finetuning import TrainingPlace, calibration_case, finetune_model
from ...models.fresh import fresh_model, plans_of_files
from ...models.model import SegmentationModel
from ...models.sauron import history_of, prune_model_while_training
from ...monitor import Monitor
from ...text_files import write_text
from ...training.finetuning.dataset import read_raw_dataset
from ...training.finetuning.settings import FineTuningRecord
from ...training.pruning.settings import PruningRecord, SauronSettings
from ..compressed_model import compressed, cost_words, model_output, tell_written
from ..jobs_from_options import model_of, steps_of
from ..output import say
from ..terminal import TerminalReporter
from ..training_settings import sauron_settings, training_settings

USUAL_CONFIGURATION = "3d_fullres"


def finetune(options: argparse.Namespace) -> None:
    """``tuckerseg finetune OUT --dataset FOLDER --rank R``, or ``--method sauron``."""
    output = model_output(options.output).absolute()
    sauron = sauron_settings(options)
    if sauron is not None:
        _prune_while_training(options, output, sauron)
        return
    settings = training_settings(options)
    model = model_of(options)
    dataset = read_raw_dataset(options.dataset, model.plans)
    example = calibration_case(dataset, settings)
    model = compressed(options, model, lambda: read_image(example.images, modality=model.plans.modalities))
    with _place(options, output) as (place, monitor):
        tuned, records = finetune_model(model, dataset, settings, place, monitor)
    tuned.save(output)
    for fold, record in records.items():
        say(f"fold {fold}: {_outcome(record)}")
    tell_written(output)
    _tell_kept(options, place, records)


def _prune_while_training(options: argparse.Namespace, output: Path, settings: SauronSettings) -> None:
    options.method = None
    if steps_of(options):
        raise SpecError(
            "--method sauron prunes an original network; expected no other compression beside it. Compress the result "
            "afterwards, by 'tuckerseg compress'."
        )
    model = _start(options)
    dataset = read_raw_dataset(options.dataset, model.plans)
    with _place(options, output) as (place, monitor):
        pruned, record = prune_model_while_training(model, dataset, settings, place, monitor)
    pruned.save(output)
    history = output.with_name(safe_name(f"{output.stem}.channels.csv"))
    write_text(history, history_of(model, record))
    with contextlib.suppress(ModuleNotFoundError):  # without matplotlib there is the table alone
        draw_channels(record, history.with_suffix(".png"))
    say(_pruning_outcome(record))
    say(f"{pruned.name}: {cost_words(pruned)} (1 multiply-accumulate = 2 FLOPs)")
    tell_written(output)
    say(f"Channels of every layer and epoch: {history}")
    _tell_kept(options, place, pruned.folds)


def _start(options: argparse.Namespace) -> SegmentationModel:
    """The model that is pruned while it trains: as it is on disk, or fresh."""
    if options.plans is not None:
        dataset = Path(options.dataset).expanduser() / "dataset.json"
        plans = plans_of_files(options.plans, dataset, options.configuration or USUAL_CONFIGURATION)
        return fresh_model(plans, options.seed)
    model = model_of(options)
    if not options.from_scratch:
        return model
    return fresh_model(model.plans, options.seed)


@contextlib.contextmanager
def _place(options: argparse.Namespace, output: Path) -> Iterator[tuple[TrainingPlace, Monitor]]:
    """Where a training runs, and who hears of it."""
    # Beside the result, because the prepared cases are larger than some systems' temporary folder.
    with temporary_folder(output.parent) as store, contextlib.closing(TerminalReporter()) as reporter:
        place = TrainingPlace(options.device, options.threads, store, output if options.resume else None)
        yield place, options.monitor.through(reporter)


def _tell_kept(options: argparse.Namespace, place: TrainingPlace, folds) -> None:
    if options.resume:
        states = ", ".join(str(place.state_file(fold)) for fold in folds)
        say(f"Kept to go on from with more epochs, else to be removed: {states}")


def _outcome(record: FineTuningRecord) -> str:
    dice = f"validation Dice {record.dice_before:.4f} -> {record.dice_after:.4f}"
    if record.best_epoch == 0:
        return f"{dice}: no epoch was better than the start, whose weights were kept"
    return f"{dice} (epoch {record.best_epoch} of {record.epochs_done})"


def _pruning_outcome(record: PruningRecord) -> str:
    start, kept = record.epochs[0], record.kept
    channels = f"{start.total_channels} -> {kept.total_channels} channels"
    dice = f"validation Dice {start.validation_dice:.4f} -> {kept.validation_dice:.4f}"
    if record.kept_epoch == 0:
        return f"{channels}, {dice}: no epoch came near the start, whose network was kept"
    return f"{channels}, {dice} (epoch {record.kept_epoch} of {record.epochs_done})"
