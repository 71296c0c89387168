"""Pack the weights of a training as a results folder of nnU-Net v2:  python pack.py demo.pt FOLDER"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from network import CLIP, FEATURES, MEAN, SIZE, SPACING, STD, network
from tissues import NAMES

DATASET = "Dataset900_TuckerSegDemo"
CONFIGURATION = "3d_fullres"
READER = "NibabelIOWithReorient"
MEDIAN_SHAPE = [150, 110, 130]  # voxels

ARCHITECTURE = {
    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
    "arch_kwargs": {
        "n_stages": 5,
        "features_per_stage": FEATURES,
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * 5,
        "strides": [[1, 1, 1]] + [[2, 2, 2]] * 4,
        "n_conv_per_stage": [2] * 5,
        "n_conv_per_stage_decoder": [2] * 4,
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    },
    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
}


def dataset() -> dict:
    """``dataset.json``: what the labels mean."""
    return {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **{name: label for label, name in NAMES.items()}},
        "numTraining": 9,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": READER,
        "description": "demonstration network of TuckerSeg; not for clinical use",
    }


def plans() -> dict:
    """``plans.json``: how images are prepared, and the network."""
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    configuration = {
        "data_identifier": f"nnUNetPlans_{CONFIGURATION}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [SIZE] * 3,
        "median_image_size_in_voxels": [float(k) for k in MEDIAN_SHAPE],
        "spacing": [SPACING] * 3,
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resampling,
        "resampling_fn_seg_kwargs": {**resampling, "is_seg": True, "order": 1},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {**resampling, "order": 1},
        "architecture": ARCHITECTURE,
        "batch_dice": True,
    }
    intensities = {
        "max": CLIP[1],
        "mean": MEAN,
        "median": 30.0,
        "min": CLIP[0],
        "percentile_00_5": CLIP[0],
        "percentile_99_5": CLIP[1],
        "std": STD,
    }
    return {
        "dataset_name": DATASET,
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [SPACING] * 3,
        "original_median_shape_after_transp": MEDIAN_SHAPE,
        "image_reader_writer": READER,
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {CONFIGURATION: configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": intensities},
    }


def checkpoint(state: dict) -> dict:
    """nnU-Net's checkpoint of the weights that ``train.py`` saves, in fp16."""
    net = network()
    net.load_state_dict({name: value.float() for name, value in state["net"].items()})
    memo = {}  # aliases of one tensor stay one tensor
    weights = {k: memo.setdefault((v.data_ptr(), tuple(v.shape)), v.half()) for k, v in net.state_dict().items()}
    return {
        "network_weights": weights,
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": CONFIGURATION, "fold": 0},
        "inference_allowed_mirroring_axes": None,
        "current_epoch": int(state["it"]),
    }


def pack(weights: Path, folder: Path) -> Path:
    """Write the results folder of a dataset into ``folder``; the path of the configuration in it."""
    path = folder / DATASET / f"nnUNetTrainer__nnUNetPlans__{CONFIGURATION}"
    (path / "fold_0").mkdir(parents=True, exist_ok=True)
    for name, content in (("dataset.json", dataset()), ("plans.json", plans())):
        (path / name).write_text(json.dumps(content, indent=1), encoding="utf-8", newline="\n")
    state = torch.load(weights, map_location="cpu", weights_only=True)
    torch.save(checkpoint(state), path / "fold_0" / "checkpoint_final.pth")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    path = pack(options.weights, options.folder)
    print(path, (path / "fold_0" / "checkpoint_final.pth").stat().st_size / 1e6, "MB")


if __name__ == "__main__":
    main()
