"""nnU-Net's training augmentation without mirroring, from its own building blocks (batchgeneratorsv2).

Source: nnunetv2 2.x ``nnUNetTrainer.get_training_transforms`` and ``nnUNetTrainerNoMirroring``. The trainers
themselves are not imported. One difference: blurring does not time its two ways of computing and take the faster, so
that the same seed gives the same patch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...nnunet.plans import ModelPlans
from ...nnunet.reading import quiet_import
from ...preprocessing.label_resampling import OUTSIDE

if TYPE_CHECKING:
    import torch

FLAT_PATCH = 3.0  # as nnU-Net's ANISO_THRESHOLD: flatter patches are rotated and scaled within their slices only
ROTATION, FLAT_ROTATION = math.radians(30), math.radians(180)
CUT_SCALING = (0.85, 1.25)  # by which nnU-Net chooses how much more to cut; it then scales by 0.7 to 1.4


class Augmentation:
    """Random rotation, scaling, noise, blur, brightness, contrast, low resolution and gamma of a patch.

    Draws from numpy's and torch's global generators, as batchgeneratorsv2 does; the caller seeds them.

    Args:
        plans: Of the model.

    Attributes:
        cut_shape: (Z, Y, X) to cut for a patch, so that a rotated one is not padded.
    """

    def __init__(self, plans: ModelPlans):
        self._flat = max(plans.patch_shape) / plans.patch_shape[0] > FLAT_PATCH
        masked = [number for number, channel in enumerate(plans.normalization) if channel.use_mask]
        with quiet_import():
            self.cut_shape = _cut_shape(plans.patch_shape, self._flat)
            self._transform = _transform(plans.patch_shape, self._flat, masked)

    def __call__(self, image: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Augment a cut of image (C, Z, Y, X) and labels (1, Z, Y, X), both perhaps overwritten, to a patch of each."""
        result = self._transform(image=image, segmentation=labels)
        return result["image"], result["segmentation"]


def _cut_shape(patch_shape: Sequence[int], flat: bool) -> tuple[int, ...]:
    """Shape (Z, Y, X) of a cut that holds every rotated and scaled patch."""
    from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size

    rotation = FLAT_ROTATION if flat else ROTATION
    shape = [int(size) for size in get_patch_size(list(patch_shape), *[(-rotation, rotation)] * 3, CUT_SCALING)]
    return (patch_shape[0], *shape[1:]) if flat else tuple(shape)


def _transform(patch_shape: Sequence[int], flat: bool, masked: list[int]) -> Any:
    """All transforms in nnU-Net's order; ``masked`` are the channels that a mask sets to zero outside."""
    from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
    from batchgeneratorsv2.transforms.utils.nnunet_masking import MaskImageTransform

    steps = [*_spatial(patch_shape, flat), *_intensity(flat)]
    if masked:
        steps.append(MaskImageTransform(apply_to_channels=masked, channel_idx_in_seg=0, set_outside_to=0))
    return ComposeTransforms(steps)


def _spatial(patch_shape: Sequence[int], flat: bool) -> list[Any]:
    """Rotation and scaling; of flat patches within their slices."""
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
    from batchgeneratorsv2.transforms.utils.pseudo2d import Convert2DTo3DTransform, Convert3DTo2DTransform

    rotation = FLAT_ROTATION if flat else ROTATION
    spatial = SpatialTransform(
        tuple(patch_shape[1:] if flat else patch_shape),
        patch_center_dist_from_border=0,
        random_crop=False,
        p_rotation=0.2,
        rotation=(-rotation, rotation),
        p_scaling=0.2,
        scaling=(0.7, 1.4),
        p_synchronize_scaling_across_axes=1,
        border_mode_seg="constant",
        padding_value_seg=OUTSIDE,
    )
    return [Convert3DTo2DTransform(), spatial, Convert2DTo3DTransform()] if flat else [spatial]


def _intensity(flat: bool) -> list[Any]:
    """Noise, blur, brightness, contrast, low resolution and gamma, each with nnU-Net's probability."""
    from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
    from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
    from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
    from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
    from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
    from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
    from batchgeneratorsv2.transforms.utils.random import RandomTransform

    all_channels = {"synchronize_channels": False, "p_per_channel": 1}
    half_of_channels = {"synchronize_channels": False, "p_per_channel": 0.5}
    gamma = {"gamma": BGContrast((0.7, 1.5)), "p_retain_stats": 1, **all_channels}
    low_resolution = SimulateLowResolutionTransform(
        scale=(0.5, 1),
        synchronize_axes=True,
        ignore_axes=(0,) if flat else None,
        allowed_channels=None,
        **half_of_channels,
    )
    steps = [
        (0.1, GaussianNoiseTransform(noise_variance=(0, 0.1), p_per_channel=1, synchronize_channels=True)),
        (0.2, GaussianBlurTransform(blur_sigma=(0.5, 1.0), synchronize_axes=False, **half_of_channels)),
        (0.15, MultiplicativeBrightnessTransform(multiplier_range=BGContrast((0.75, 1.25)), **all_channels)),
        (0.15, ContrastTransform(contrast_range=BGContrast((0.75, 1.25)), preserve_range=True, **all_channels)),
        (0.25, low_resolution),
        (0.1, GammaTransform(p_invert_image=1, **gamma)),
        (0.3, GammaTransform(p_invert_image=0, **gamma)),
    ]
    return [RandomTransform(step, apply_probability=probability) for probability, step in steps]
