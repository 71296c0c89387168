"""Labeled fine-tuning of a compressed model: its folds, one after the other, and the model that comes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from .. import hardware
from ..errors import SpecError
from ..files.names import safe_name
from ..monitor import Monitor
from ..records.compression import CompressionRecipe
from ..records.serialization import to_json
from ..training.finetuning.dataset import RawCase, RawDataset
from ..training.finetuning.loop import fine_tune
from ..training.finetuning.preparation import held_back, prepare_dataset
from ..training.finetuning.settings import FineTuningRecord, FineTuningSettings
from ..training.tensor_states import sha256_of, tensors_of
from .model import SegmentationModel
from .training_form import for_training


@dataclass(frozen=True)
class TrainingPlace:
    """Where a fine-tuning runs and keeps its files; none of it is written into the model's recipes.

    Attributes:
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        threads: Of the processor; None leaves a core free where there are more than two.
        store: Folder for the prepared cases, which whoever gives it removes; None keeps them in memory.
        state_path: Every fold keeps a state ``STATE_PATH.FOLD.state``, from which an interrupted run goes on and a
            finished one can be given more epochs; None keeps none.
    """

    device: str = "auto"
    threads: int | None = None
    store: Path | None = None
    state_path: Path | None = None

    def state_file(self, fold: str) -> Path | None:
        """Path of the file that keeps the state of a fold; None where none is kept."""
        path = self.state_path
        return None if path is None else path.with_name(safe_name(f"{path.name}.{fold}.state"))


def finetune_model(
    compressed: SegmentationModel,
    dataset: RawDataset,
    settings: FineTuningSettings,
    place: TrainingPlace = TrainingPlace(),
    monitor: Monitor | None = None,
) -> tuple[SegmentationModel, dict[str, FineTuningRecord]]:
    """Train a compressed model on labeled cases, as the Tucker paper does; every fold on the same ones.

    Args:
        compressed: By any method; it may have been trained on before.
        dataset: From ``read_raw_dataset`` with the model's plans.
        settings: How.
        place: Hardware and files.
        monitor: See ``prepare_dataset`` and ``fine_tune``.

    Returns:
        The fine-tuned model, which allows no mirroring because it was trained without, and per fold what was done.

    Raises:
        SpecError: The model is not compressed, or the training diverges.
        DatasetError, ImageError: The dataset cannot be read, or does not fit the model.
        ModelFileError: A state is damaged or of another run.
        OutputError: A file cannot be written.
        BackendError, OutOfMemoryError: The device is not there, or too small.
        Cancelled: The monitor said so.
    """
    if compressed.plans.previous_stage is not None:
        raise SpecError(
            f"{compressed.name} is a cascade's second stage, whose fine-tuning would need the first stage's labels of "
            "all cases: fine-tune a model of one stage."
        )
    if not compressed.recipes:
        raise SpecError(
            f"{compressed.name} is not compressed: there is nothing to fine-tune. Compress it first; the original "
            "network is trained with nnU-Net itself.",
            shell="Compressed it is by --rank 0.5, for example.",
        )
    compressed, monitor = for_training(compressed), monitor or Monitor()
    plans = replace(compressed.plans, mirror_axes=())
    weights: dict[str, torch.Tensor] = {}
    records: dict[str, FineTuningRecord] = {}
    with hardware.torch_threads(place.threads or hardware.default_threads()), hardware.freed_memory_kept():
        cases = case_ids(dataset, monitor)
        prepared = prepare_dataset(dataset, plans, place.store, monitor)
        for number, fold in enumerate(compressed.folds, 1):
            if len(compressed.folds) > 1:
                monitor.log(f"Fold {fold}, {number} of {len(compressed.folds)}:")
            result = fine_tune(
                compressed.network(fold, stored=True),
                plans,
                prepared,
                settings,
                state_file=place.state_file(fold),
                device=place.device,
                monitor=monitor,
            )
            weights |= {f"{fold}/{name}": tensor for name, tensor in tensors_of(result.network).items()}
            records[fold] = result.record
    spec = {
        **to_json(settings),
        "dataset": dataset.folder.resolve().name,
        "cases": cases,
        "weights_sha256": sha256_of(weights),  # on a GPU the same settings do not give quite the same weights
    }
    recipes = (*compressed.recipes, CompressionRecipe("finetune", spec, ()))
    return replace(compressed, plans=plans, recipes=recipes, weights=weights), records


def calibration_case(dataset: RawDataset, settings: FineTuningSettings) -> RawCase:
    """A case to calibrate a compression on before it is fine-tuned: the first that is not held back.

    Raises:
        DatasetError: Fewer than two cases.
    """
    validation = held_back(len(dataset.cases), settings.validation_fraction, settings.seed)
    return next(case for number, case in enumerate(dataset.cases) if number not in validation)


def case_ids(dataset: RawDataset, monitor: Monitor) -> list[str]:
    """A hash of each case's files, in the order that the split depends on. No names: they may be those of patients."""
    identifiers = []
    for case in dataset.cases:
        monitor.check("The fine-tuning")
        identifiers.append(case.content_id())
    return identifiers
