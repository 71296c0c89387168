"""What holds of every result, whatever the damage was: geometry, labels, networks, runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from answers import answer, require
from samples import Samples

LARGEST_PATCH = 40**3  # voxels that are run through a network here


def check_model(model: Any, runs: bool = True) -> None:
    """A model that was read: its facts make sense together, and its networks can be built.

    Args:
        runs: Also run a patch of zeros through them.
    """
    import torch

    plans = model.plans
    require(len(plans.patch_shape) == 3 and all(size > 0 for size in plans.patch_shape), f"patch {plans.patch_shape}")
    check_spacing(plans.spacing_mm)
    require(sorted(plans.transpose_forward) == [0, 1, 2], f"transposition {plans.transpose_forward}")
    require(set(plans.mirror_axes) <= {0, 1, 2}, f"mirror axes {plans.mirror_axes}")
    require(plans.input_channels > 0 and len(plans.channel_names) == plans.input_channels, "channels do not agree")
    check_label_values([label.value for label in plans.labels], plans)
    for channel in plans.normalization:
        numbers = (channel.mean, channel.std, channel.percentile_00_5, channel.percentile_99_5)
        require(all(number is None or math.isfinite(number) for number in numbers), f"normalization {channel}")
    structure = answer(model.structure)
    if structure is None or not runs or math.prod(plans.patch_shape) > LARGEST_PATCH:
        return
    for fold in model.folds:
        network = answer(model.network, fold)
        if network is not None:
            with torch.no_grad():
                logits = network(torch.zeros(1, plans.input_channels, *plans.patch_shape))
            require(tuple(logits.shape) == (1, plans.logit_channels, *plans.patch_shape), f"logits {logits.shape}")


def check_label_values(values: list[Any], plans: Any) -> None:
    """Values of labels are whole, each is there once, and a label file can hold them."""
    require(all(type(value) is int and 0 < value < 65536 for value in values), f"label values {values}")
    if plans.region_values is None:
        require(sorted(values) == list(range(1, plans.logit_channels)), f"{plans.logit_channels} logits for {values}")


def check_spacing(spacing: tuple[float, ...]) -> None:
    require(len(spacing) == 3 and all(math.isfinite(each) and each > 0 for each in spacing), f"spacing {spacing}")


def check_image(image: Any) -> None:
    """An image that was read: grid and voxels agree, and every number is one."""
    geometry, array = image.geometry, image.array
    check_spacing(geometry.spacing_mm)
    require(bool(np.isfinite(geometry.matrix).all()), "a position that is not finite")
    require(array.ndim == 4 and array.shape[1:] == geometry.shape, f"voxels {array.shape} on a grid {geometry.shape}")
    require(array.dtype in (np.uint8, np.int8, np.int16, np.int32, np.float32), f"voxels of type {array.dtype}")
    require(array.dtype.kind != "f" or bool(np.isfinite(array).all()), "a voxel that is not finite")


def check_run(model: Path | str, samples: Samples, folder: Path) -> Any:
    """A small volume segmented with a model: labels lie on its grid, and only declared ones are in it."""
    from TuckerSegLib import InferenceSpec, Job
    from TuckerSegLib.image import read_image
    from TuckerSegLib.jobs.run import run_job

    output = folder / "labels.nii.gz"
    inference = InferenceSpec(device="torch:cpu", precision="fp32", threads=1)
    result = answer(run_job, Job((str(samples.nifti_file),), str(output), str(model), inference=inference))
    require(output.exists() == (result is not None), "a file without a result, or a result without its file")
    if result is not None:
        written = read_image(output)
        require(written.geometry.same_grid(read_image(samples.nifti_file).geometry), "labels on another grid")
        found = set(np.unique(written.array).tolist()) - {0}
        require(found <= set(result.label_names), f"labels {found} of {set(result.label_names)}")
    return result
