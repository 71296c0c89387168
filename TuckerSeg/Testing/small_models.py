"""Small nnU-Net models with random weights, as files; what tests of many tiers are about."""

from __future__ import annotations

import json
from pathlib import Path

import numpy


def write_networks(root: Path, task_name: str, **settings) -> Path:
    """Networks of a task of the catalog, each normalized in its own way, and each finding much background.

    Args:
        settings: See ``write_model_folder``.
    """
    import torch

    from TuckerSegLib.catalog.entries import task

    known = task(task_name)
    names = dict(known.structures)
    for number, part in enumerate(known.parts):
        labels = {"background": 0, **{names[value]: own for own, value in part.labels or zip(names, names)}}
        folder = write_model_folder(root, part.dataset, labels=labels, spacing=known.spacing_mm, **settings)
        plans = json.loads((folder / "plans.json").read_text())
        plans["foreground_intensity_properties_per_channel"]["0"] |= {"mean": 100.0 * number, "std": 200.0}
        (folder / "plans.json").write_text(json.dumps(plans))
        for file in folder.glob("fold_*/checkpoint_final.pth"):
            checkpoint = torch.load(file, weights_only=False)
            generator = torch.Generator().manual_seed(number)
            for name, weight in checkpoint["network_weights"].items():
                if weight.ndim == 5:
                    weight.copy_(torch.randn(weight.shape, generator=generator) / weight[0].numel() ** 0.5)
                elif "seg_layers" in name:
                    weight[0] += 1.0
            torch.save(checkpoint, file)
        folder.rename(folder.with_name(part.configuration))
    return root


def write_model_folder(
    parent: Path,
    name: str = "Dataset001_Small",
    residual: bool = False,
    old_plans: bool = False,
    labels: dict | None = None,
    region_order: list[int] | None = None,
    folds: tuple[str, ...] = ("0",),
    channels: int = 1,
    mirror_axes: tuple[int, ...] | None = None,
    patch_shape: tuple[int, int, int] = (32, 32, 32),
    spacing: tuple[float, float, float] = (3.0, 3.0, 3.0),
    transpose: tuple[int, int, int] = (0, 1, 2),
    normalization: str = "CTNormalization",
    reader: str = "NibabelIOWithReorient",
    configuration_name: str = "3d_fullres",
    seed: int = 0,
    transformer: str | None = None,
    previous_stage: str | None = None,
) -> Path:
    """Write a small, complete nnU-Net results folder with random weights, the same for the same arguments.

    Args:
        patch_shape, spacing: Of the configuration ``2d`` the first number does not count.

    Returns:
        The ``Trainer__Plans__Configuration`` folder.
    """
    import torch

    from TuckerSegLib.nnunet.network import build_network
    from TuckerSegLib.nnunet.plans import Architecture

    labels = labels or {"background": 0, **{f"structure_{value}": value for value in range(1, 20)}}
    outputs = len(region_order) if region_order else len([key for key in labels if key != "ignore"])
    flat = configuration_name == "2d"
    class_name, thick = _architecture(residual, flat)
    imports = ("conv_op", "norm_op", "dropout_op", "nonlin")
    if transformer:
        class_name, thick, imports = *transformer_architecture(transformer, patch_shape), ()
    kwargs = _of_slices(thick) if flat else thick
    configuration = {
        "data_identifier": "small",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(patch_shape)[flat:],
        "median_image_size_in_voxels": list(patch_shape),
        "spacing": list(spacing)[flat:],
        "normalization_schemes": [normalization] * channels,
        "use_mask_for_norm": [False] * channels,
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None},
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None},
        "batch_dice": False,
    }
    structures = 0
    if previous_stage is not None:
        configuration["previous_stage"] = previous_stage
        values = [value if isinstance(value, list) else [value] for value in labels.values()]
        structures = len({number for each in values for number in each} - {0})
    if old_plans:
        configuration |= {
            "UNet_class_name": class_name.rpartition(".")[2],
            "UNet_base_num_features": 8,
            "unet_max_num_features": 320,
            "n_conv_per_stage_encoder": kwargs["n_blocks_per_stage"] if residual else kwargs["n_conv_per_stage"],
            "n_conv_per_stage_decoder": kwargs["n_conv_per_stage_decoder"],
            "num_pool_per_axis": [2, 2, 2],
            "pool_op_kernel_sizes": kwargs["strides"],
            "conv_kernel_sizes": kwargs["kernel_sizes"],
        }
    else:
        architecture = {"network_class_name": class_name, "arch_kwargs": kwargs, "_kw_requires_import": list(imports)}
        configuration["architecture"] = architecture
    intensities = {"mean": 20.0, "std": 300.0, "percentile_00_5": -1000.0, "percentile_99_5": 900.0}
    plans = {
        "dataset_name": name,
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": list(spacing),
        "original_median_shape_after_transp": list(patch_shape),
        "image_reader_writer": reader,
        "transpose_forward": list(transpose),
        "transpose_backward": [list(transpose).index(axis) for axis in range(3)],
        "configurations": {configuration_name: configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(channel): intensities for channel in range(channels)},
    }
    dataset = {
        "channel_names": {str(channel): "CT" for channel in range(channels)},
        "labels": labels,
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    if region_order:
        dataset["regions_class_order"] = region_order
    folder = parent / name / f"nnUNetTrainer__nnUNetPlans__{configuration_name}"
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    for number, fold in enumerate(folds):
        torch.manual_seed(number + seed)
        network = build_network(Architecture(class_name, thick, imports), channels + structures, outputs)
        weights = network.state_dict()
        if flat:
            weights = {name: each.squeeze(2) if each.ndim == 5 else each for name, each in weights.items()}
        (folder / f"fold_{fold}").mkdir()
        checkpoint = {
            "network_weights": weights,
            "trainer_name": "nnUNetTrainer",
            "init_args": {"configuration": configuration_name, "fold": fold},
            "inference_allowed_mirroring_axes": mirror_axes,
            "logging": {"mean_fg_dice": [numpy.float64(0.5), numpy.float32(0.5)]},  # as nnU-Net's logger leaves it
        }
        torch.save(checkpoint, folder / f"fold_{fold}" / "checkpoint_final.pth")
    return folder


def transformer_architecture(name: str, patch_shape: tuple[int, int, int] = (32, 32, 32)) -> tuple[str, dict]:
    """Class and arguments of a small transformer, as ``Primus``: two heads, four blocks, tokens of 8.

    ``UNETR`` is that of TokenSparse without its sparsification, ``TokenSparse`` the one with it.
    """
    if name in ("UNETR", "TokenSparse"):
        sizes = {"embed_dim": 24, "depth": 4, "num_heads": 2, "feature_size": 4, "input_shape": list(patch_shape)}
        return "TuckerSegLib.nnunet.unetr.UNETR", {**sizes, **({"keep_ratio": 0.5} if name == "TokenSparse" else {})}
    sizes = {"embed_dim": 24, "eva_depth": 4, "eva_numheads": 2, "patch_embed_size": [8, 8, 8]}
    sizes |= {"input_shape": list(patch_shape), "init_values": 0.1, "scale_attn_inner": True, "drop_path_rate": 0.2}
    if name == "PrimusV3":
        sizes |= {"ch_per_level": [8, 8, 16, 16]}
    return f"dynamic_network_architectures.architectures.primus.{name}", sizes


def _of_slices(kwargs: dict) -> dict:
    """The arguments of the 2D network whose kernels have no thickness."""
    sizes = {name: [stage[1:] for stage in kwargs[name]] for name in ("kernel_sizes", "strides")}
    operators = {name: kwargs[name].removesuffix("3d") + "2d" for name in ("conv_op", "norm_op")}
    return {**kwargs, **sizes, **operators}


def _architecture(residual: bool, flat: bool = False) -> tuple[str, dict]:
    module = "dynamic_network_architectures.architectures."
    kwargs = {
        "n_stages": 3,
        "features_per_stage": [8, 16, 32],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[1 if flat else 3, 3, 3]] * 3,
        "strides": [[1, 1, 1], *[[1 if flat else 2, 2, 2]] * 2],
        "n_conv_per_stage_decoder": [1, 1],
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    if residual:
        return module + "unet.ResidualEncoderUNet", {**kwargs, "n_blocks_per_stage": [1, 1, 1]}
    return module + "unet.PlainConvUNet", {**kwargs, "n_conv_per_stage": [1, 1, 1]}
