"""How images and logits are resampled, as ``plans.json`` says it: nnU-Net's function, and the arguments it gets."""

from __future__ import annotations

from typing import Any

from ..errors import UnsupportedModelError
from ..printable import shown
from .fields import flag, mapping, whole_number, wrong
from .plans import HIGHEST_SPLINE_ORDER, ResamplingPlan

SPLINES = "resample_data_or_seg_to_shape"
TORCH = ("resample_torch_fornnunet", "resample_torch_simple")
RESAMPLING_FUNCTIONS = (SPLINES, *TORCH)
TORCH_MODES = {"nearest-exact": 0, "linear": 1}  # to the order of a spline
_ARGUMENTS = ("is_seg", "force_separate_z", "separate_z_anisotropy_threshold")
SPLINE_ARGUMENTS = (*_ARGUMENTS, "order", "order_z")
TORCH_ARGUMENTS = (*_ARGUMENTS, "mode", "aniso_axis_mode", "num_threads", "device", "memefficient_seg_resampling")
ANISOTROPY_THRESHOLD = 3  # nnU-Net's, from which an axis is resampled by itself


def read_resampling(
    configuration: dict[str, Any], function: str, usual_order: int, of_labels: bool = False
) -> ResamplingPlan:
    """Read one of the resamplings of a configuration.

    Args:
        configuration: Of ``plans.json``, with a known name of a function, or none, in the field ``function``.
        function: Name of that field, as ``resampling_fn_data``; its arguments are in the one with ``_kwargs``.
        usual_order: Of the spline where none is named.
        of_labels: Whether segmentations are resampled so.

    Raises:
        UnsupportedModelError: An argument that is not known, or a value of one.
        ModelFolderError: An argument of a wrong type or out of its range.
    """
    name, place = configuration.get(function), f"plans.json: {function}_kwargs"
    kwargs = mapping(configuration.get(f"{function}_kwargs", {}), place)
    by_torch = name in TORCH
    known = TORCH_ARGUMENTS if by_torch else SPLINE_ARGUMENTS
    if unknown := [argument for argument in kwargs if argument not in known]:
        raise UnsupportedModelError(f"{place}: {shown(unknown[0])} is unknown; known: {', '.join(known)}.")
    if flag(kwargs.get("is_seg", False), f"{place}.is_seg") != of_labels:
        raise wrong(f"{place}.is_seg", str(of_labels).lower(), not of_labels)
    if kwargs.get("separate_z_anisotropy_threshold", ANISOTROPY_THRESHOLD) != ANISOTROPY_THRESHOLD:
        raise UnsupportedModelError(f"{place}: separate_z_anisotropy_threshold should be {ANISOTROPY_THRESHOLD}.")
    if by_torch:
        return _torch_resampling(name, kwargs, place)
    orders = (
        whole_number(kwargs.get(name, usual), f"{place}.{name}", 0, HIGHEST_SPLINE_ORDER)
        for name, usual in (("order", usual_order), ("order_z", 0))
    )
    return ResamplingPlan(*orders, kwargs.get("force_separate_z"))


def _torch_resampling(name: object, kwargs: dict[str, Any], place: str) -> ResamplingPlan:
    """What nnunetv2's ``resample_torch.py`` does: linear; where an axis is separate, that one by the nearest voxel."""
    # Where no axis is separate, nnU-Net passes the mode over: with another one than linear, the two ways would differ
    for argument, modes in (("mode", ("linear",)), ("aniso_axis_mode", tuple(TORCH_MODES))):
        mode = kwargs.get(argument, modes[0])
        if mode not in modes:
            raise UnsupportedModelError(f"{place}.{argument} is {shown(mode)}; known: {', '.join(modes)}.")
    separate = False if name == "resample_torch_simple" else kwargs.get("force_separate_z")
    return ResamplingPlan(1, TORCH_MODES[mode], separate, by_torch=True)
