"""Label-free repair of a compressed model on volumes: crops, folds, and the model that comes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from . import catalog, hardware
from .calibrating import calibration_patches, crop_shape, padded, random_crop, volume_id
from .errors import SpecError
from .image import Image
from .model import SegmentationModel
from .predictor import uses_features
from .preprocessing import preprocess
from .records import CompressionRecipe, to_json
from .repairing.distillation import Pupil, repair_network
from .repairing.loss import Readout
from .repairing.settings import RepairRecord, RepairSettings

HELD_BACK_CROPS = 3
HELD_BACK_SEED = 7  # other crops than those of calibration

Listener = Callable[[dict[str, Any]], None]


def repair_model(
    compressed: SegmentationModel,
    original: SegmentationModel,
    volumes: Sequence[Image],
    settings: RepairSettings,
    *,
    state_folder: Path | None = None,
    threads: int | None = None,
    on_event: Listener = lambda event: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[SegmentationModel, dict[str, RepairRecord]]:
    """Train a compressed model to give its original's outputs on volumes without labels.

    With several volumes the last one is held back to measure on; crops of a single one overlap with what is trained on.

    Args:
        compressed: Made of ``original``.
        volumes: Any that the model can segment.
        settings: How.
        state_folder: A state file per fold is kept there, from which an interrupted repair goes on.
        threads: Of the processor; None leaves a core free where there are more than two.
        on_event, cancelled: See ``repairing.distillation.repair_network``.

    Returns:
        The repaired model, and per fold what was done.

    Raises:
        SpecError: The models do not belong together, or there is no volume.
        ImageError: A volume does not fit the model.
        Cancelled: ``cancelled`` said so.
    """
    _check(compressed, original, volumes)
    shown, measured = (volumes[:-1], volumes[-1]) if len(volumes) > 1 else (volumes, volumes[0])
    convention = catalog.resampling_convention(original.plans.dataset_name)
    prepared = [preprocess(volume, original.plans, convention).data for volume in shown]
    sizes = crop_shape(original)

    def draw_crop(generator: torch.Generator) -> torch.Tensor:
        data = prepared[int(torch.randint(0, len(prepared), (1,), generator=generator))]
        return padded(random_crop(data, sizes, generator), sizes)[None].clone()

    held_back = calibration_patches(original, measured, HELD_BACK_CROPS, seed=HELD_BACK_SEED)
    weights, records = {}, {}
    with hardware.torch_threads(threads or hardware.default_threads()), hardware.freed_memory_kept():
        for fold in original.folds:
            found = repair_network(
                _pupil(compressed, fold),
                _pupil(original, fold),
                draw_crop,
                held_back,
                settings,
                state_file=state_folder and state_folder / f"repair-{compressed.key}-{fold}.safetensors",
                on_event=on_event,
                cancelled=cancelled,
            )
            weights |= {name: value for name, value in compressed.weights.items() if name.startswith(f"{fold}/")}
            trained = dict(found.network.named_parameters())
            weights |= {f"{fold}/{name}": value.detach() for name, value in trained.items()}
            records[fold] = found.record
    spec = {**to_json(settings), "volumes": [volume_id(volume) for volume in volumes]}
    recipes = (*compressed.recipes, CompressionRecipe("repair", spec, ()))
    return replace(compressed, recipes=recipes, weights=weights), records


def _check(compressed: SegmentationModel, original: SegmentationModel, volumes: Sequence[Image]) -> None:
    if original.recipes:
        raise SpecError(f"{original.name} is compressed; a repair needs the original to learn from.")
    if not compressed.recipes:
        raise SpecError(f"{compressed.name} is not compressed: there is nothing to repair. Give a rank below 1.")
    if (compressed.source_sha256, compressed.folds) != (original.source_sha256, original.folds):
        raise SpecError(f"{compressed.name} was not made of {original.name}; give the original that it was made of.")
    if not volumes:
        raise SpecError("A repair needs at least one volume.")


def _pupil(model: SegmentationModel, fold: str) -> Pupil:
    features = uses_features(model)
    return Pupil(model.network(fold, features), Readout(*model.head(fold)) if features else Readout())
