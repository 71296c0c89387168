"""2D configurations of plans as 3D ones whose patches and kernels are one slice thick, which is the same network.

So all that is done with networks here, compression, devices, exports, is done with those of slices, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .fields import sequence

if TYPE_CHECKING:
    import torch

PER_AXIS = ("kernel_sizes", "strides")
OPERATORS = ("conv_op", "norm_op", "dropout_op")
PATCH_PLACE = "plans.json: patch_size"


def is_of_slices(configuration: Mapping[str, Any]) -> bool:
    """Whether a configuration of ``plans.json`` is a 2D one: its patches have two sizes."""
    size = configuration.get("patch_size")
    return isinstance(size, (list, tuple)) and len(size) == 2


def one_slice_thick(configuration: dict[str, Any]) -> dict[str, Any]:
    """A 2D configuration, as nnU-Net writes it today, as that of the same network on patches (1, Y, X).

    What has three sizes already, as in a folder that was exported here, stays as it is.

    Args:
        configuration: With the section ``architecture``; it is not changed. Fields that are none of a 2D network stay
            as they are, for the checks that every configuration goes through.

    Raises:
        ModelFolderError: The spacing is not one of two axes.
    """
    # Between slices nothing is resampled: the image's own spacing takes the place of the first number, see ModelPlans
    spacing = [1.0, *sequence(configuration.get("spacing"), "plans.json: spacing", (2,))]
    section = configuration.get("architecture")
    if isinstance(section, dict) and isinstance(section.get("arch_kwargs"), dict):
        section = {**section, "arch_kwargs": _thick_arguments(section["arch_kwargs"])}
    thick = {"patch_size": [1, *configuration["patch_size"]], "spacing": spacing, "architecture": section}
    return {**configuration, **thick}


def thick_weights(weights: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of a 2D network in the shapes of one whose kernels are one slice thick; views, not copies.

    Args:
        weights: By name.
        expected: What the network has under these names.
    """
    return {
        name: tensor.unsqueeze(2) if tensor.ndim == 4 and name in expected and expected[name].ndim == 5 else tensor
        for name, tensor in weights.items()
    }


def _thick_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    thick = dict(arguments)
    for name in PER_AXIS:
        if name not in thick:
            continue
        stages = thick[name]
        if not isinstance(stages, (list, tuple)):
            count = thick.get("n_stages")
            stages = [stages] * (count if isinstance(count, int) and 0 < count < 100 else 1)
        thick[name] = [_thick_size(size) for size in stages]
    for name in OPERATORS:
        if isinstance(thick.get(name), str) and thick[name].endswith("2d"):
            thick[name] = thick[name].removesuffix("2d") + "3d"
    return thick


def _thick_size(size: object) -> object:
    if isinstance(size, (list, tuple)):
        return [1, *size] if len(size) == 2 else size
    return [1, size, size]
