"""Pruning while training of a model: its network on labeled cases, and the smaller model that comes of it."""

from __future__ import annotations

from dataclasses import replace

from .. import hardware
from ..compression import pruning
from ..compression.cost import count
from ..compression.heads import find_head
from ..errors import SpecError
from ..monitor import Monitor
from ..records.compression import CompressionRecipe
from ..records.serialization import to_json
from ..training.finetuning.dataset import RawDataset
from ..training.finetuning.preparation import prepare_dataset
from ..training.pruning.history import history_csv
from ..training.pruning.loop import Pruned, prune_while_training
from ..training.pruning.settings import PruningRecord, SauronSettings
from ..training.tensor_states import sha256_of
from .finetuning import TrainingPlace, case_ids
from .model import SegmentationModel, weights_of


def prune_model_while_training(
    model: SegmentationModel,
    dataset: RawDataset,
    settings: SauronSettings,
    place: TrainingPlace | None = None,
    monitor: Monitor | None = None,
) -> tuple[SegmentationModel, PruningRecord]:
    """Train a model on labeled cases, and take channels out of it that come to resemble others.

    Args:
        model: Of one fold, not compressed; trained or fresh.
        dataset: From ``read_raw_dataset`` with the model's plans.
        settings: How.
        place: Hardware and files.
        monitor: See ``prepare_dataset`` and ``prune_while_training``.

    Returns:
        The model with fewer channels, which allows no mirroring because it was trained without, and what was done. Its
        recipes are a pruning to these numbers of channels (none where all stayed) and a fine-tuning.

    Raises:
        SpecError: The model is compressed, has several folds or nothing to prune, or the training diverges.
        DatasetError, ImageError, ModelFileError, OutputError, BackendError, OutOfMemoryError, Cancelled: See
            ``finetune_model``.
    """
    if any(recipe.changes for recipe in model.recipes):
        raise SpecError(
            f"{model.name} is compressed already; what is pruned while it trains is an original network. Start from "
            "that one, and compress the result."
        )
    if len(model.folds) > 1:
        raise SpecError(
            f"{model.name} has {len(model.folds)} folds, which would lose different channels; expected one.",
            shell="Choose one by --folds 0.",
        )
    monitor, place, (fold,) = monitor or Monitor(), place or TrainingPlace(), model.folds
    plans = replace(model.plans, mirror_axes=())
    with hardware.torch_threads(place.threads or hardware.default_threads()), hardware.freed_memory_kept():
        cases = case_ids(dataset, monitor)
        prepared = prepare_dataset(dataset, plans, place.store, monitor)
        result = prune_while_training(
            model.network(fold, stored=True),
            plans,
            prepared,
            settings,
            state_file=place.state_file(fold),
            device=place.device,
            monitor=monitor,
        )
    facts = {"dataset": dataset.folder.resolve().name, "cases": cases}
    return _model_of(replace(model, plans=plans), fold, result, facts), result.record


def history_of(model: SegmentationModel, record: PruningRecord) -> str:
    """The channels of every layer after every epoch as comma-separated values.

    Args:
        model: The one that the training began with.
        record: Of the training.
    """
    return history_csv(model.structure(), record, model.plans.patch_shape, model.plans.input_channels)


def _model_of(model: SegmentationModel, fold: str, result: Pruned, facts: dict) -> SegmentationModel:
    """The model that a training has left, with what was done to it."""
    patch_shape, channels = model.plans.patch_shape, model.plans.input_channels
    weights = weights_of(result.network, fold)
    record = result.record
    start, kept = record.epochs[0].channels, record.kept.channels
    fewer = {path: left for path, left in kept.items() if left < start[path]}
    recipes = list(model.recipes)
    if fewer:
        spec = pruning.Spec(policy="uniform", multiple=1, minimum=1, channels=fewer)
        changes = pruning.plan(model.structure(), spec, patch_shape, channels)
        recipes.append(CompressionRecipe("prune", to_json(spec), changes))
    training = {
        **to_json(record.settings.training),
        "schedule": record.settings.schedule,
        "sauron": {name: value for name, value in to_json(record.settings).items() if name != "training"},
        **facts,
        "weights_sha256": sha256_of(weights),
    }
    return replace(
        model,
        recipes=(*recipes, CompressionRecipe("finetune", training, ())),
        cost=count(result.network, patch_shape, channels).total,
        head_path=find_head(result.network, patch_shape, channels),
        weights=weights,
    )
