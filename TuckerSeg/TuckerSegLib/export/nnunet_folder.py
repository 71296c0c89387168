"""An ordinary nnU-Net v2 results folder, which nnU-Net and TotalSegmentator run where TuckerSegLib is installed.

``plans.json`` names ``compressed_network.CompressedUNet``, or ``compressed_transformer``, and what was done to the
original in its ``architecture`` section; all else in it and in ``dataset.json`` is the original's.
"""

from __future__ import annotations

import copy
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import compression
from ..compression.heads import drop_unused_heads
from ..errors import SpecError, UnsupportedModelError
from ..files.atomic_writes import written_whole
from ..files.names import safe_name
from ..nnunet.compressed_architecture import compressed_architecture
from ..nnunet.folder import CHECKPOINT_NAMES, find_model_folder
from ..nnunet.network import build_network
from ..nnunet.network_classes import TRANSFORMERS
from ..nnunet.plans import Architecture
from ..nnunet.reading import read_plans, resolved_configuration
from ..nnunet.weights import network_with_weights
from ..records.compression import CompressionRecipe
from ..text_files import write_text
from .checking import require_agreement, sample_patch
from .settings import DATASET_NAME, Exported, ExportSettings
from .staging import require_free, staged

if TYPE_CHECKING:
    from ..models.model import SegmentationModel

OPTIONS = ("dataset_name", "trainer_folder")
TRAINER = "nnUNetTrainer"  # found without importing the others, and builds what the plans say


def check(model: SegmentationModel, path: Path, settings: ExportSettings) -> None:
    """Refuse an export that cannot succeed, before the model is compressed.

    Raises:
        SpecError: The model's dataset has no name that nnU-Net takes.
        UnsupportedModelError: A ``.tuckerseg`` file of an earlier version, which lacks nnU-Net's own documents.
        OutputError: The folder exists already.
    """
    if model.plans.documents is None:
        raise UnsupportedModelError(
            f"{model.name}: this file was written by an earlier TuckerSeg, which did not keep nnU-Net's plans in it. "
            "Make it again, or compress and export the original model."
        )
    require_free([model_folder(model, path, settings)], settings.overwrite)


def export(model: SegmentationModel, path: Path, settings: ExportSettings) -> Exported:
    """Write the folder ``DatasetXXX_Name/Trainer__Plans__Configuration``.

    Args:
        model: The original or a compressed model.
        path: nnU-Net's results folder, in which the new one is made.
        settings: Names of the folder; whether an old one is replaced.

    Raises:
        UnsupportedModelError: The network is not made of an encoder and a decoder.
        OutputError: The folder cannot be written, or the network that nnU-Net builds of it differs from the model.
    """
    check(model, path, settings)
    place = model_folder(model, path, settings)
    recipes = tuple(_decoded(_without_cases(recipe)) for recipe in model.recipes)
    architecture = compressed_architecture(model.plans.architecture, recipes, _unused_heads(model))
    with staged(place) as folder:
        _write_json(folder / "plans.json", _exported_plans(model, architecture))
        _write_json(folder / "dataset.json", model.plans.documents["dataset"])
        for fold in model.folds:
            _write_checkpoint(folder / safe_name(f"fold_{fold}") / CHECKPOINT_NAMES[0], model, fold)
        difference = _check_written(model, folder)
        names = [file.relative_to(folder) for file in sorted(folder.rglob("*")) if os.path.isfile(file)]
    return Exported(place, tuple(place / name for name in names), difference)


def model_folder(model: SegmentationModel, path: Path, settings: ExportSettings) -> Path:
    """The folder that the model is exported to.

    Raises:
        SpecError: The model's dataset has no name that nnU-Net takes.
        OutputError: The names of its dataset or plans cannot be names of folders.
    """
    dataset = settings.dataset_name or model.plans.dataset_name
    if not DATASET_NAME.fullmatch(dataset):
        raise SpecError(
            f"nnU-Net cannot find a dataset of the name '{dataset}': give it one as Dataset123_Name.",
            shell="That is --dataset-name Dataset123_Name.",
        )
    plans_name = (model.plans.documents or {}).get("plans", {}).get("plans_name", "nnUNetPlans")
    default = f"{TRAINER}__{plans_name}__{model.plans.configuration}"
    return path / safe_name(dataset) / safe_name(settings.trainer_folder or default)


def _without_cases(recipe: CompressionRecipe) -> CompressionRecipe:
    """The recipe without the names of the cases that a fine-tuning used, which may name patients."""
    return replace(recipe, spec={key: value for key, value in recipe.spec.items() if key != "cases"})


def _decoded(recipe: CompressionRecipe) -> CompressionRecipe:
    """The recipe as one of weights alone, where its layers are ordinary ones that are stored in another form.

    nnU-Net initializes and trains ordinary layers, so their decoded weights are written.
    """
    method = compression.METHODS.get(recipe.method) and compression.method(recipe.method)
    return replace(recipe, changes=()) if getattr(method, "STORED_OTHERWISE", False) else recipe


def _unused_heads(model: SegmentationModel) -> tuple[str, ...]:
    import torch

    plans = model.plans
    with torch.device("meta"):
        network = build_network(plans.architecture, plans.input_channels, plans.logit_channels)
    parts = sorted(name for name, _ in network.named_children())
    if plans.architecture.class_name not in TRANSFORMERS and parts != ["decoder", "encoder"]:
        raise UnsupportedModelError(
            f"Only transformers, and networks of an encoder and a decoder, can be exported to nnU-Net's format; "
            f"{plans.architecture.class_name} is made of {', '.join(parts)}."
        )
    return drop_unused_heads(network, plans.patch_shape, plans.input_channels)


def _exported_plans(model: SegmentationModel, architecture: Architecture) -> dict[str, Any]:
    plans = copy.deepcopy(model.plans.documents["plans"])
    configuration = resolved_configuration(plans, model.plans.configuration)
    configuration["architecture"] = {
        "network_class_name": architecture.class_name,
        "arch_kwargs": architecture.kwargs,
        "_kw_requires_import": list(architecture.requires_import),
    }
    return {**plans, "configurations": {model.plans.configuration: configuration}}


def _write_json(path: Path, document: dict[str, Any]) -> None:
    write_text(path, json.dumps(document, indent=1))


def _write_checkpoint(path: Path, model: SegmentationModel, fold: str) -> None:
    import torch

    checkpoint = {
        "network_weights": model.network(fold).state_dict(),
        "trainer_name": TRAINER,
        "init_args": {"configuration": model.plans.configuration, "fold": fold},
        "inference_allowed_mirroring_axes": model.plans.own_mirror_axes or None,
    }
    path.parent.mkdir()
    with written_whole(path) as beside:
        torch.save(checkpoint, beside)


def _check_written(model: SegmentationModel, folder: Path) -> float:
    """Build each fold's network from the written files and compare it with the model; the largest difference."""
    import torch

    written = find_model_folder(folder, model.folds)
    worst, patch = 0.0, sample_patch(model)
    for fold in model.folds:
        checkpoint = written.read_checkpoint(fold)
        plans = read_plans(written.read_json("plans.json"), written.read_json("dataset.json"), checkpoint, str(folder))
        network = network_with_weights(plans, checkpoint["network_weights"], str(folder))
        ours = model.network(fold)
        with torch.inference_mode():
            logits, expected = network(patch).numpy(), ours(patch).numpy()
        worst = max(worst, require_agreement(logits, expected, "fp32", "nnU-Net"))
    return worst
