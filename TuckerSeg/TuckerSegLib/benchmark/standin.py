"""Stand-ins for TotalSegmentator's models: their networks, their folder layout, random weights.

Time and memory do not depend on what the weights are (see ``standin_weights.py``), and the real ones need a download.

Follows the plans that nnunetv2 up to 2.1 wrote (no ``architecture`` section), as TotalSegmentator v2 ships them.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import catalog
from ..errors import OutputError, SpecError
from ..files.atomic_writes import written_whole
from ..text_files import write_text
from .standin_weights import standin_network

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class NetworkShape:
    """What tells the networks of TotalSegmentator's tasks apart, but for their labels.

    Attributes:
        patch_shape: (Z, Y, X).
        stages: Of the encoder; features double from 32 to at most 320.
        median_shape: (Z, Y, X) of the volumes it was trained on; any values do for time.
    """

    patch_shape: tuple[int, int, int]
    stages: int
    median_shape: tuple[int, int, int]


# Tucker paper, arXiv:2404.09683: 31.2 million parameters with 25 logits, 16.6 million with 118.
SHAPES = {
    "total": NetworkShape((128, 128, 128), 6, (234, 198, 248)),
    "total_fast": NetworkShape((112, 112, 128), 5, (117, 99, 124)),
}
FAST = "total_fast"


def standin_folders(root: Path, task: str = FAST) -> tuple[Path, ...]:
    """Paths of a task's model folders below an nnU-Net results folder ``root``, whether they exist or not."""
    # TotalSegmentator looks for these names; the checkpoints inside name plain nnUNetTrainer (see `_checkpoint`).
    return tuple(root / part.dataset / part.configuration for part in _task(task).parts)


def write_standin(root: Path, task: str = FAST) -> tuple[Path, ...]:
    """Write the stand-ins of a task as complete nnU-Net v2 results folders; those already there are kept.

    Args:
        root: nnU-Net results folder; created when missing.
        task: One of ``SHAPES``.

    Returns:
        The model folders, each with plans.json, dataset.json and fold_0/checkpoint_final.pth.

    Raises:
        SpecError: The task has no stand-in.
        OutputError: A folder cannot be written.
    """
    folders = standin_folders(root, task)
    for part, folder in zip(_task(task).parts, folders):
        checkpoint = folder / "fold_0" / "checkpoint_final.pth"
        if os.path.exists(checkpoint):
            continue
        plans, dataset = standin_plans(task, part), standin_dataset(task, part)
        try:
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            write_text(folder / "plans.json", json.dumps(plans, indent=1))
            write_text(folder / "dataset.json", json.dumps(dataset, indent=1))
            _save(_checkpoint(standin_network(plans, dataset, standin_seed(part))), checkpoint)
        except OSError as error:
            text = f"{folder}: the stand-in model cannot be written ({error}). Name another folder."
            raise OutputError(text) from error
    return folders


def standin_seed(part: catalog.Part) -> int:
    """Seed of its weights: the number of its data set."""
    return int(part.dataset[len("Dataset") :].split("_")[0])


def standin_plans(task: str, part: catalog.Part) -> dict[str, Any]:
    """Plans of a part's network, in the format without an ``architecture`` section."""
    shape, spacing = SHAPES[task], list(_task(task).spacing_mm)
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(shape.patch_shape),
        "median_image_size_in_voxels": [float(size) for size in shape.median_shape],
        "spacing": spacing,
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 32,
        "unet_max_num_features": 320,
        "n_conv_per_stage_encoder": [2] * shape.stages,
        "n_conv_per_stage_decoder": [2] * (shape.stages - 1),
        "num_pool_per_axis": [shape.stages - 1] * 3,
        "pool_op_kernel_sizes": [[1, 1, 1]] + [[2, 2, 2]] * (shape.stages - 1),
        "conv_kernel_sizes": [[3, 3, 3]] * shape.stages,
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resampling,
        "resampling_fn_seg_kwargs": {**resampling, "is_seg": True, "order": 1},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {**resampling, "order": 1},
        "batch_dice": False,
    }
    # Clipping range, mean and deviation of a plausible whole-body CT; any values do for time.
    intensities = {"mean": 0.0, "std": 400.0, "min": -1024.0, "max": 3000.0, "median": 40.0}
    return {
        "dataset_name": part.dataset,
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": spacing,
        "original_median_shape_after_transp": list(shape.median_shape),
        "image_reader_writer": "NibabelIOWithReorient",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            "0": {**intensities, "percentile_00_5": -1000.0, "percentile_99_5": 1000.0}
        },
    }


def standin_dataset(task: str, part: catalog.Part) -> dict[str, Any]:
    """dataset.json with a part's structures, named as the catalog does, in the order of its labels."""
    names = dict(_task(task).structures)
    labels = {names[value]: label for label, value in part.labels or zip(names, names)}
    return {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **labels},
        "numTraining": 0,
        "file_ending": ".nii.gz",
        "description": f"Random weights in a network of TotalSegmentator's task {task}: for measuring time and memory",
    }


def _task(name: str) -> catalog.Task:
    if name not in SHAPES:
        raise SpecError(f"There is no stand-in for the task '{name}'; choose one of {', '.join(SHAPES)}.")
    return catalog.task(name)


def _checkpoint(network: torch.nn.Module) -> dict[str, Any]:
    # Plain nnUNetTrainer: nnU-Net's look-up of any other name imports every trainer it has, and torchvision with them.
    return {
        "network_weights": network.state_dict(),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "3d_fullres", "fold": 0},
        "inference_allowed_mirroring_axes": None,
        "current_epoch": 0,
    }


def _save(checkpoint: dict[str, Any], path: Path) -> None:
    """Whole or not at all: a stopped run leaves no half a checkpoint that looks complete."""
    import torch

    with written_whole(path) as beside:
        torch.save(checkpoint, beside)
