"""A stand-in for TotalSegmentator's 3 mm model (task 297): its network, its folder layout, random weights.

Time and memory do not depend on what the weights are, and the real ones need a download. What the weights mean
is nevertheless chosen with care: every convolution but the first and the head has Tucker rank (channels / 4), so the
network compressed to rank 1/3 computes the same labels as the original. Agreement between the two therefore checks
the whole compressed path; it says nothing about what compression costs a *trained* network.

Follows the plans that nnunetv2 up to 2.1 wrote (no ``architecture`` section), as TotalSegmentator v2 ships them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..catalog import RESOURCES
from ..errors import OutputError

if TYPE_CHECKING:
    import torch

DATASET = "Dataset297_TotalSegmentator_total_3mm_1559subj"
# TotalSegmentator looks for this folder name; the checkpoint inside names plain nnUNetTrainer (see `_checkpoint`).
CONFIGURATION_FOLDER = "nnUNetTrainer_4000epochs_NoMirroring__nnUNetPlans__3d_fullres"
LABEL_COUNT = 118  # background and 117 structures
RANK_DIVISOR = 4  # rank = channels / 4 is below rank 1/3, however that is rounded to multiples of 8
SKIP_SCALE = 0.1  # weight of the full-resolution skip in the last stage: larger, smoother structures
ROUGHNESS = 0.3  # deviation of the kernels from smooth ones, which would give noise as labels if it were large
SEED = 297


def standin_folder(root: Path) -> Path:
    """Path of the model folder below an nnU-Net results folder ``root``, whether it exists or not."""
    return root / DATASET / CONFIGURATION_FOLDER


def write_standin(root: Path, label_names: tuple[str, ...] | None = None, seed: int = SEED) -> Path:
    """Write the stand-in as a complete nnU-Net v2 results folder; one already there is kept.

    Args:
        root: nnU-Net results folder; created when missing.
        label_names: 117 structure names in label order; by default those of the demonstration model.
        seed: Seed of the weights; the caller's random state is left as it was.

    Returns:
        The model folder, with plans.json, dataset.json and fold_0/checkpoint_final.pth.

    Raises:
        OutputError: The folder cannot be written.
    """
    folder = standin_folder(root)
    checkpoint = folder / "fold_0" / "checkpoint_final.pth"
    if checkpoint.exists():
        return folder
    plans, dataset = standin_plans(), standin_dataset(label_names or _demonstration_label_names())
    try:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        (folder / "plans.json").write_text(json.dumps(plans, indent=1))
        (folder / "dataset.json").write_text(json.dumps(dataset, indent=1))
        _save(_checkpoint(standin_network(plans, dataset, seed)), checkpoint)
    except OSError as error:
        raise OutputError(f"{folder}: the stand-in model cannot be written ({error}). Name another folder.") from error
    return folder


def standin_plans() -> dict[str, Any]:
    """Plans of TotalSegmentator's 3 mm network, in the format without an ``architecture`` section."""
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [112, 112, 128],
        "median_image_size_in_voxels": [117.0, 99.0, 124.0],
        "spacing": [3.0, 3.0, 3.0],
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 32,
        "unet_max_num_features": 320,
        "n_conv_per_stage_encoder": [2, 2, 2, 2, 2],
        "n_conv_per_stage_decoder": [2, 2, 2, 2],
        "num_pool_per_axis": [4, 4, 4],
        "pool_op_kernel_sizes": [[1, 1, 1]] + [[2, 2, 2]] * 4,
        "conv_kernel_sizes": [[3, 3, 3]] * 5,
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
        "dataset_name": DATASET,
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [3.0, 3.0, 3.0],
        "original_median_shape_after_transp": [117, 99, 124],
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


def standin_dataset(label_names: tuple[str, ...]) -> dict[str, Any]:
    """dataset.json for 117 structure names in label order."""
    return {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **{name: index for index, name in enumerate(label_names, start=1)}},
        "numTraining": 0,
        "file_ending": ".nii.gz",
        "description": "Random weights with TotalSegmentator's 3 mm network shape: for measuring time and memory only",
    }


def standin_network(plans: dict[str, Any], dataset: dict[str, Any], seed: int = SEED) -> torch.nn.Module:
    """Build the network as nnU-Net does and give it its seeded weights."""
    import warnings

    import torch
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected old nnU-Net plans format")
        configuration = PlansManager(plans).get_configuration("3d_fullres")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = get_network_from_plans(
            configuration.network_arch_class_name,
            configuration.network_arch_init_kwargs,
            configuration.network_arch_init_kwargs_req_import,
            len(dataset["channel_names"]),
            len(dataset["labels"]),
            deep_supervision=False,
        )
        for module in network.modules():
            if isinstance(module, (torch.nn.Conv3d, torch.nn.ConvTranspose3d)) and min(module.weight.shape[:2]) > 1:
                _lower_rank(module)
        last_stage = network.decoder.stages[-1].convs[0].conv
        last_stage.weight[:, last_stage.in_channels // 2 :] *= SKIP_SCALE
    return network.eval()


def _lower_rank(module: torch.nn.Module) -> None:
    """Replace a kernel in place by a random one of a quarter of the ranks and He-normal deviation; heads stay full."""
    import torch

    weight = module.weight
    if weight.shape[2:].numel() == 1:
        return
    ranks = [size // RANK_DIVISOR for size in weight.shape[:2]]
    core = torch.randn(*ranks, 1, 1, 1) * _smooth_kernel(weight.shape[2:]) + ROUGHNESS * torch.randn(
        *ranks, *weight.shape[2:]
    )
    first, second = (torch.randn(size, rank) for size, rank in zip(weight.shape[:2], ranks))
    # One factor after the other: einsum would multiply both factors first, 600 million values for the widest layer.
    kernel = torch.einsum("is,oszyx->oizyx", second, torch.einsum("or,rszyx->oszyx", first, core))
    fan_in = module.in_channels * weight.shape[2:].numel()
    weight.copy_(kernel * ((2.0 / fan_in) ** 0.5 / kernel.std()))  # He et al. 2015, as nnU-Net initializes


def _smooth_kernel(shape: tuple[int, ...]) -> torch.Tensor:
    """Separable binomial kernel (1 2 1 along an axis of three, 1 1 along two), largest value 1."""
    import torch

    axes = [torch.tensor([0.5, 1.0, 0.5]) if size == 3 else torch.ones(size) for size in shape]
    return torch.einsum("z,y,x->zyx", *axes)


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
    """Write beside and rename, so that a stopped run leaves no half a checkpoint that looks complete."""
    import torch

    beside = path.with_suffix(".part")
    torch.save(checkpoint, beside)
    beside.replace(path)


def _demonstration_label_names() -> tuple[str, ...]:
    """The 117 structure names of TotalSegmentator v2, from the demonstration model's dataset.json."""
    for path in sorted((RESOURCES / "Models").glob("*/*/dataset.json")):
        labels: dict[str, int] = json.loads(path.read_text())["labels"]
        if len(labels) == LABEL_COUNT:
            return tuple(sorted((name for name in labels if labels[name] > 0), key=labels.__getitem__))
    return tuple(f"structure_{index}" for index in range(1, LABEL_COUNT))
