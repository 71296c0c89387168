"""An image becomes the normalized volume that a network takes, which remembers how labels go back to the image's grid.

Follows nnunetv2 2.x ``DefaultPreprocessor``: transpose, crop to nonzero, normalize, resample. Images for models trained
on what TotalSegmentator resampled ("aligned" convention) are resampled first, in HU, and then cropped, as nnU-Net gets
them there. Everything on the way is a view until the small resampled volume is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ImageError
from ..image import Geometry, is_constant
from ..nnunet.normalization import IntensityMap, intensity_map
from ..nnunet.plans import ModelPlans, ResamplingPlan
from ..resampling import ResamplingSpec, output_shape, resample, separate_axis
from ..system_memory import system_memory_bytes
from .nonzero import filled_mask, nonzero_box
from .roi import Box, Roi

if TYPE_CHECKING:
    import torch

    from ..image import Geometry, Image

Shape = tuple[int, int, int]
ResampleAligned = Callable[[np.ndarray, Shape, ResamplingSpec], "torch.Tensor"]
TOTALSEGMENTATOR_ORDER = 1  # its default since 2.18 for images and, in "native" output, ours for features


@dataclass(frozen=True)
class PreparedVolume:
    """A network's input, and how its labels go back to the image's grid.

    Attributes:
        data: Normalized float32 (C, Z, Y, X) on the model's grid.
        geometry: The input image's.
        orientation, transpose, crop: How the input's grid was turned, permuted and cropped, in this order.
        upsampling: How features are resampled from the model's grid to the cropped one.
        roi: The region of interest; patches outside it are not run.
        grid_shape: (Z, Y, X) of the whole model's grid where ``data`` is a part of it, with background around it; None
            where ``data`` is all of it.
        part: Where ``data`` lies on the model's grid; None where it is all of it.
    """

    data: torch.Tensor
    geometry: Geometry
    orientation: str | None
    transpose: Shape
    crop: tuple[slice, slice, slice]
    upsampling: ResamplingSpec
    roi: Roi = Roi()
    grid_shape: Shape | None = None
    part: Box | None = None

    @property
    def grid(self) -> tuple[Shape, Box]:
        """Shape (Z, Y, X) of the model's grid, and the part of it that ``data`` is."""
        shape = self.grid_shape or tuple(self.data.shape[1:])
        return shape, self.part or tuple(slice(0, size) for size in shape)

    def label_view(self, labels: np.ndarray) -> np.ndarray:
        """The part of ``labels`` (input's grid, (Z, Y, X)) that the network decides, as a writable view on its axes."""
        view = _oriented(labels, self.geometry, self.orientation)[0]
        return view.transpose(self.transpose)[self.crop]


def resample_hounsfield(volume: np.ndarray, shape: Shape, spec: ResamplingSpec) -> torch.Tensor:
    """Resample each channel before any normalization, as TotalSegmentator does; a new float32 tensor (C, Z, Y, X)."""
    import torch

    return torch.stack([resample(values[None], shape, spec)[0] for values in volume])


def preprocess(
    image: Image,
    plans: ModelPlans,
    convention: str,
    resample_aligned: ResampleAligned = resample_hounsfield,
    previous: np.ndarray | None = None,
) -> PreparedVolume:
    """Prepare an image for a model.

    Args:
        image: As read, (C, Z, Y, X); it is not changed.
        plans: The model's.
        convention: ``nnunet`` or ``aligned``, see ``ModelPlans.resampling_convention``.
        resample_aligned: Does the resampling of the convention ``aligned``; a :class:`SharedResampling` lets several
            models share it.
        previous: Of a cascade's second stage: the labels (Z, Y, X) that its first stage gave to the image. None: as if
            that had found nothing.

    Returns:
        The volume on the model's grid, with the way back to the image's.

    Raises:
        ImageError: The number of channels differs from the model's, nothing of the image is left, or this computer has
            less memory than it takes on the model's grid.
    """
    if image.array.shape[0] != plans.image_channels:
        raise ImageError(
            f"{image.source}: the model expects {plans.image_channels} channel(s) "
            f"({', '.join(plans.channel_names)}); found {image.array.shape[0]}."
        )
    import torch

    if all(is_constant(channel) for channel in image.array):
        raise ImageError(
            f"{image.source}: no structures can be found, because every voxel has the same value, "
            f"{image.array.flat[0]:g}. Check how the image was exported."
        )
    cropped, spacing, crop = network_view(image, plans, convention)
    target_mm = plans.grid_spacing_mm(spacing)
    shape = output_shape(cropped.shape[1:], spacing, target_mm, convention)
    if min(shape) < 1:
        raise ImageError(f"{image.source}: at {target_mm} mm the image has only {shape} voxels (Z Y X).")
    _check_memory(image, plans, shape)
    spec = _resampling(plans.image_resampling, convention, spacing, target_mm)
    part = None
    if convention == "aligned":
        # TotalSegmentator 2.18 keeps resampled HU as integers, cut towards zero.
        data = resample_aligned(cropped, shape, replace(spec, whole_numbers=True))
        part = nonzero_box(data.numpy(), image.source)
        data = _normalized(data[(slice(None), *part)].contiguous(), plans)
    else:
        data = _normalize_then_resample(cropped, plans, shape, spec)
    if plans.previous_labels:
        channels = _previous_channels(image, cropped, plans, previous, crop, shape)
        data = torch.cat([data, channels if part is None else channels[(slice(None), *part)]])
    return PreparedVolume(
        data,
        image.geometry,
        plans.orientation,
        plans.transpose_forward,
        crop,
        _resampling(plans.logits_resampling, convention, target_mm, spacing),
        grid_shape=shape,
        part=part,
    )


def _previous_channels(
    image: Image, cropped: np.ndarray, plans: ModelPlans, previous: np.ndarray | None, crop: Box, shape: Shape
) -> torch.Tensor:
    """The channels (L, Z, Y, X) on the model's grid of what a cascade's first stage found."""
    import torch

    from .previous_stage import one_hot

    if previous is None:
        return torch.zeros((len(plans.previous_labels), *shape))
    labels, geometry = _oriented(previous, image.geometry, plans.orientation)
    labels = labels.transpose(plans.transpose_forward)[crop]
    spacing = _spacing(geometry, plans, "nnunet")
    axis = separate_axis(spacing, plans.grid_spacing_mm(spacing), plans.previous_resampling.force_separate_z)
    return one_hot(labels, cropped, plans.previous_labels, shape, axis)


def _check_memory(image: Image, plans: ModelPlans, shape: Shape) -> None:
    """What a model's spacing asks for is known before it is allocated."""
    needed, (present, _) = 4 * math.prod(shape) * plans.input_channels, system_memory_bytes()
    if present is not None and needed > present:
        raise ImageError(
            f"{image.source}: at the model's spacing of {plans.spacing_mm} mm the image has {shape} voxels (Z Y X), "
            f"which take {needed / 1e9:.0f} GB; this computer has {present / 1e9:.0f} GB. Cut out a part of the image."
        )


def network_view(
    image: Image, plans: ModelPlans, convention: str
) -> tuple[np.ndarray, tuple[float, float, float], tuple[slice, slice, slice]]:
    """View an image on the model's axes; in the convention ``nnunet`` cropped to its nonzero voxels, as nnU-Net does.

    Returns:
        A view (C, Z, Y, X), its spacing in mm, and the crop: slices of (Z, Y, X) on the model's axes.

    Raises:
        ImageError: Every voxel is zero.
    """
    oriented, geometry = _oriented(image.array, image.geometry, plans.orientation)
    volume = oriented.transpose(0, *(axis + 1 for axis in plans.transpose_forward))
    crop = (slice(None),) * 3 if convention == "aligned" else nonzero_box(volume, image.source)
    return volume[(slice(None), *crop)], _spacing(geometry, plans, convention), crop


def box_on_network_axes(
    box: tuple[slice, slice, slice], geometry: Geometry, plans: ModelPlans, crop: tuple[slice, slice, slice]
) -> tuple[slice, slice, slice]:
    """Carry a box over from an image's grid to the model's axes.

    Args:
        box: Slices of the image's grid, (Z, Y, X).
        geometry: The image's.
        plans: The model's.
        crop: Slices on the model's axes, as :func:`network_view` returns them.

    Returns:
        The box's part inside ``crop``, in voxels counted from the crop's start; empty slices where they do not meet.
    """
    network_box = [slice(0, 0)] * 3
    for axis, part in enumerate(box):
        line = np.zeros([size if other == axis else 1 for other, size in enumerate(geometry.shape)], dtype=np.uint8)
        line[(slice(None),) * axis + (part,)] = 1
        view = _oriented(np.broadcast_to(line, geometry.shape), geometry, plans.orientation)[0]
        view = view.transpose(plans.transpose_forward)[crop]
        (target,) = np.flatnonzero(view.strides)
        inside = np.flatnonzero(np.moveaxis(view, target, 0)[:, 0, 0])
        if inside.size:
            network_box[target] = slice(int(inside[0]), int(inside[-1]) + 1)
    return tuple(network_box)


def shape_on_network_axes(geometry: Geometry, plans: ModelPlans) -> Shape:
    """Shape (Z, Y, X), in voxels on the model's axes, of an image as it is."""
    turned = _oriented(np.broadcast_to(np.uint8(0), geometry.shape), geometry, plans.orientation)[1]
    return tuple(turned.shape[axis] for axis in plans.transpose_forward)


def grid_shape(geometry: Geometry, plans: ModelPlans, convention: str) -> Shape:
    """Shape (Z, Y, X), in voxels on the model's axes, of an image that is resampled without a crop."""
    turned = _oriented(np.broadcast_to(np.uint8(0), geometry.shape), geometry, plans.orientation)[1]
    shape = tuple(turned.shape[axis] for axis in plans.transpose_forward)
    spacing = _spacing(turned, plans, convention)
    return output_shape(shape, spacing, plans.grid_spacing_mm(spacing), convention)


def _spacing(geometry: Geometry, plans: ModelPlans, convention: str) -> tuple[float, float, float]:
    """Spacing in mm along the model's axes, rounded as it must be for sizes that fall on a half."""
    spacing = [geometry.spacing_mm[axis] for axis in plans.transpose_forward]
    if convention == "aligned":  # TotalSegmentator 2.18 takes it from a NIfTI header, which holds it in float32
        return tuple(float(np.float32(size)) for size in spacing)
    return tuple(round(float(size), 6) for size in spacing)  # affines carry rounding noise


def _normalize_then_resample(cropped: np.ndarray, plans: ModelPlans, shape: Shape, spec: ResamplingSpec):
    import torch

    mask = filled_mask(cropped) if any(channel.use_mask for channel in plans.normalization) else None
    channels = []
    for values, plan in zip(cropped, plans.normalization, strict=True):
        inside = mask if plan.use_mask else None
        mapping = intensity_map(values, plan, inside)
        if inside is not None and plan.scheme == "ZScoreNormalization":
            values = np.where(inside, mapping.apply_(values.astype(np.float32)), values.astype(np.float32))
            mapping = IntensityMap()
        channels.append(resample(values[None], shape, spec, before=mapping.apply_))
    return torch.cat(channels)


def _normalized(data: torch.Tensor, plans: ModelPlans) -> torch.Tensor:
    """Normalize in place, channel by channel."""
    for values, plan in zip(data.numpy(), plans.normalization, strict=True):
        mapping = intensity_map(values, plan, filled_mask(values[None]) if plan.use_mask else None)
        mapping.apply_(values)
    return data


def _resampling(plan: ResamplingPlan, convention: str, spacing, new_spacing) -> ResamplingSpec:
    if convention == "aligned":
        return ResamplingSpec(TOTALSEGMENTATOR_ORDER, convention)
    axis = separate_axis(spacing, new_spacing, plan.force_separate_z)
    return ResamplingSpec(
        plan.order, "torch" if plan.by_torch else convention, separate_axis=axis, separate_order=plan.order_z
    )


def _oriented(array: np.ndarray, geometry: Geometry, orientation: str | None):
    if orientation is None:
        return array, geometry
    from ..image import oriented

    return oriented(array, geometry, orientation)


def grid_voxels(geometry: Geometry, plans: ModelPlans) -> int:
    """Number of voxels of an image that is resampled to the model's grid without a crop."""
    return math.prod(grid_shape(geometry, plans, plans.resampling_convention))
