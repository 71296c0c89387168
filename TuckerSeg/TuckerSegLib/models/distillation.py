"""Label-free repair of a compressed model on volumes: crops, folds, and the model that comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .. import catalog, hardware
from ..cache import key_of
from ..errors import SpecError
from ..files.names import safe_name
from ..image import Image, read_image
from ..monitor import Monitor
from ..preprocessing.preprocess import preprocess
from ..records.compression import CompressionRecipe
from ..records.serialization import to_json
from ..training.distillation.examples import Examples
from ..training.distillation.loop import repair_network
from ..training.distillation.settings import RepairRecord, RepairSettings
from ..training.distillation.split_network import SplitNetwork
from .calibration import calibration_patches, crop_shape, has_built_in_volumes, volume_id
from .model import SegmentationModel, require_pair, uses_features
from .training_form import for_training, learns_alone

BUILT_IN_SHARE = 0.4  # of the crops
CROP_VOXELS = 64  # along an axis: half the time of a step of 80, for nearly the same gain
HELD_BACK_CROPS = 3
HELD_BACK_SEED = 7  # other crops than those of calibration


def repair_model(
    compressed: SegmentationModel,
    original: SegmentationModel,
    volumes: Sequence[Image],
    settings: RepairSettings,
    *,
    state_folder: Path | None = None,
    threads: int | None = None,
    device: str = "cpu",
    monitor: Monitor | None = None,
) -> tuple[SegmentationModel, dict[str, RepairRecord]]:
    """Train every fold of a compressed model to give its original's outputs on volumes without labels.

    With several volumes the last one is held back to measure on; crops of a single one overlap with what is trained on.
    A model of CTs learns from the built-in synthetic torso too, so that it stays good on other volumes than these.
    Where tokens leave, what learns which and completes the sequence is added (``for_training``); it learns alone where
    nothing else has been changed.

    Args:
        compressed: Made of ``original``.
        volumes: Any that the model can segment.
        settings: How.
        state_folder: A state file per fold is kept there, from which an interrupted repair goes on.
        threads: Of the processor; None leaves a core free where there are more than two.
        device, monitor: See ``training.distillation.loop.repair_network``.

    Returns:
        The repaired model, and per fold what was done.

    Raises:
        SpecError: The models do not belong together, or there is no volume.
        ImageError: A volume does not fit the model.
        Cancelled: The monitor said so.
    """
    require_pair(compressed, original)
    compressed = for_training(compressed)
    if not volumes:
        raise SpecError("A repair needs at least one volume.")
    training, validation = (volumes[:-1], volumes[-1]) if len(volumes) > 1 else (volumes, volumes[0])
    examples = examples_of(original, training, CROP_VOXELS)
    held_back = calibration_patches(original, validation, HELD_BACK_CROPS, seed=HELD_BACK_SEED)
    state = key_of(model=compressed.key, original=original.key, volumes=[volume_id(volume) for volume in volumes])
    weights, records = {}, {}
    with hardware.torch_threads(threads or hardware.default_threads()), hardware.freed_memory_kept():
        for fold in original.folds:
            repaired_fold = repair_network(
                split_network(compressed, fold, stored=True),
                split_network(original, fold),
                examples.draw,
                held_back,
                settings,
                device=device,
                state_file=state_folder and state_folder / safe_name(f"repair-{state}-{fold}.safetensors"),
                monitor=monitor,
                drawing_alone=learns_alone(compressed),
            )
            weights |= {name: value for name, value in compressed.weights.items() if name.startswith(f"{fold}/")}
            parameters = dict(repaired_fold.network.named_parameters())
            weights |= {f"{fold}/{name}": value.detach() for name, value in parameters.items()}
            records[fold] = repaired_fold.record
    repaired = replace(planned_repair(compressed, original, volumes, settings), weights=weights)
    return repaired, records


def planned_repair(
    compressed: SegmentationModel, original: SegmentationModel, volumes: Sequence[Image], settings: RepairSettings
) -> SegmentationModel:
    """The model that :func:`repair_model` will give, without weights: it has its key.

    Args:
        compressed, original, volumes, settings: As for :func:`repair_model`.
    """
    spec = {**to_json(settings), "volumes": [volume_id(volume) for volume in volumes]}
    return for_training(compressed).planned(CompressionRecipe("repair", spec, ()), original=original.key)


def examples_of(model: SegmentationModel, volumes: Sequence[Image], crop_voxels: int | None = None) -> Examples:
    """Crops of volumes, and of the synthetic torso where the model uses it; ``crop_voxels`` as for ``crop_shape``."""
    convention = model.plans.resampling_convention
    shares = [1 / len(volumes)] * len(volumes)
    if has_built_in_volumes(model):
        volumes = [*volumes, read_image(catalog.DEMO_VOLUME)]
        shares.append(BUILT_IN_SHARE / (1 - BUILT_IN_SHARE))
    prepared = [preprocess(volume, model.plans, convention).data for volume in volumes]
    return Examples(prepared, shares, crop_shape(model, crop_voxels))


def split_network(model: SegmentationModel, fold: str, stored: bool = False) -> SplitNetwork:
    """A fold's network, its head apart where accumulating features is cheaper than logits.

    A head that is stored otherwise than it runs may share values with layers that learn, and learns with them.
    """
    features = uses_features(model)
    if stored and features:
        features = model.weights[f"{fold}/{model.head_path}.weight"].is_floating_point()
    return SplitNetwork(model.network(fold, features, stored), model.head(fold) if features else None)
