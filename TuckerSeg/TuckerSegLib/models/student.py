"""Distillation of a model into a narrower one of the same labels, on volumes without labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from .. import hardware
from ..cache import key_of
from ..compression.layers import replace_modules
from ..errors import SpecError
from ..files.names import safe_name
from ..image import Image
from ..monitor import Monitor
from ..nnunet.narrower import narrower_plans
from ..records.compression import CompressionRecipe
from ..records.serialization import to_json
from ..training.distillation.loop import repair_network
from ..training.distillation.settings import RepairRecord, RepairSettings
from ..training.distillation.split_network import LearningHead, SplitNetwork
from ..training.tensor_states import sha256_of
from .calibration import calibration_patches, volume_id
from .distillation import CROP_VOXELS, HELD_BACK_CROPS, HELD_BACK_SEED, examples_of, split_network
from .fresh import FOLD, fresh_model
from .model import SegmentationModel, uses_features, weights_of
from .pruned_start import pruned_weights

STARTS = ("fresh", "pruned")


class MeanOfFolds(nn.Module):
    """The mean of the logits of several networks."""

    def __init__(self, networks: Sequence[nn.Module]):
        super().__init__()
        self.folds = nn.ModuleList(networks)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, L, Z, Y, X) of images (B, C, Z, Y, X)."""
        return torch.stack([network(images) for network in self.folds]).mean(dim=0)


def distill_model(
    original: SegmentationModel,
    volumes: Sequence[Image],
    settings: RepairSettings,
    base: int,
    stages: int | None = None,
    *,
    start: str = "fresh",
    state_folder: Path | None = None,
    threads: int | None = None,
    device: str = "cpu",
    monitor: Monitor | None = None,
) -> tuple[SegmentationModel, RepairRecord]:
    """Train a narrower network to give a model's outputs on volumes without labels.

    With several volumes the last one is held back to measure on; a model of CTs is asked about the built-in synthetic
    torso, too.

    Args:
        original: Whose logits (of several folds: their mean) and features are learned.
        volumes: Any that the model can segment.
        settings: How.
        base, stages: See ``nnunet.narrower.narrower_plans``.
        start: What the narrower network begins with: ``fresh`` weights, or those that a pruning of the original leaves
            (``pruned``).
        state_folder: A state file is kept there, from which an interrupted distillation goes on.
        threads: Of the processor; None leaves a core free where there are more than two.
        device, monitor: See ``training.distillation.loop.repair_network``.

    Returns:
        A model of one fold, whose only recipe is the training; and what was done.

    Raises:
        SpecError: No volume, sizes that the network cannot have, or a start that they do not allow.
        UnsupportedModelError: The model is no U-Net.
        ImageError: A volume does not fit the model.
        Cancelled: The monitor said so.
    """
    if not volumes:
        raise SpecError("A distillation needs at least one volume.")
    student = fresh_model(narrower_plans(original.plans, base, stages), settings.seed)
    if start not in STARTS:
        raise SpecError(f"The start should be one of {', '.join(STARTS)}; found '{start}'.")
    training, validation = (volumes[:-1], volumes[-1]) if len(volumes) > 1 else (volumes, volumes[0])
    if start == "pruned":
        weights = pruned_weights(original, student, training, threads=threads, monitor=(monitor or Monitor()).quiet())
        student = replace(student, weights=weights, source_sha256=sha256_of(weights))
    examples = examples_of(original, training, CROP_VOXELS)
    held_back = calibration_patches(original, validation, HELD_BACK_CROPS, seed=HELD_BACK_SEED)
    identifiers = [volume_id(volume) for volume in volumes]
    state = key_of(model=student.key, original=original.key, volumes=identifiers)
    with hardware.torch_threads(threads or hardware.default_threads()), hardware.freed_memory_kept():
        distilled = repair_network(
            _learner(student),
            _teacher(original),
            examples.draw,
            held_back,
            settings,
            device=device,
            state_file=state_folder and state_folder / safe_name(f"distill-{state}.safetensors"),
            monitor=monitor,
            widths_differ=True,
        )
    spec = {**to_json(settings), "original": original.name, "base": base, "volumes": identifiers}
    if start != STARTS[0]:
        spec["start"] = start
    return (
        replace(
            student,
            name=original.name,
            recipes=(CompressionRecipe("distill", spec, ()),),
            weights=weights_of(distilled.network, FOLD),
        ),
        distilled.record,
    )


def _learner(student: SegmentationModel) -> SplitNetwork:
    """The student's network; its head learns, too."""
    network = student.network(FOLD)
    if uses_features(student):
        head = network.get_submodule(student.head_path)
        replace_modules(network, {head: LearningHead(head)})
    return SplitNetwork(network)


def _teacher(original: SegmentationModel) -> SplitNetwork:
    if len(original.folds) == 1:
        return split_network(original, original.folds[0])
    return SplitNetwork(MeanOfFolds([original.network(fold) for fold in original.folds]))
