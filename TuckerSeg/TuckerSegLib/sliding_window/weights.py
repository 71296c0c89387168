"""Weights of a patch's voxels where patches overlap.

Source: nnunetv2 2.x ``sliding_window_prediction.compute_gaussian`` as ``nnUNetPredictor`` calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch

PEAK = 10.0  # nnU-Net's value_scaling_factor
SIGMA_FRACTION = 1 / 8  # of the patch, as nnU-Net


def patch_weights(kind: str, patch_shape: Sequence[int]) -> torch.Tensor:
    """Weights of a patch's voxels, by which overlapping patches are summed.

    Args:
        kind: ``gaussian``, see :func:`gaussian_weights`, or ``flat``, which are all 1.
        patch_shape: (Z, Y, X), in voxels.

    Returns:
        float32, (Z, Y, X), on the CPU. The tensor may be shared: do not write into it.
    """
    return torch.ones(()).expand(*patch_shape) if kind == "flat" else gaussian_weights(patch_shape)


def gaussian_weights(patch_shape: Sequence[int]) -> torch.Tensor:
    """Gaussian weights around the center of a patch; none is zero.

    They are rounded to float16, as nnU-Net does it, so that patches are weighted exactly as there.

    Returns:
        float32, (Z, Y, X), on the CPU. The tensor is shared: do not write into it.
    """
    return _gaussian_weights(tuple(int(size) for size in patch_shape))


@lru_cache(maxsize=2)
def _gaussian_weights(patch_shape: tuple[int, ...]) -> torch.Tensor:
    weights = np.ones((1, 1, 1))
    for axis, size in enumerate(patch_shape):  # in scipy's order, so that they round alike
        weights = weights * np.expand_dims(_filtered_impulse(size), [other for other in range(3) if other != axis])
    weights /= weights.max() / PEAK
    weights = torch.from_numpy(weights).to(torch.float16)
    weights[weights == 0] = weights[weights > 0].min()
    return weights.to(torch.float32)


def _filtered_impulse(size: int) -> np.ndarray:
    """What ``scipy.ndimage.gaussian_filter`` makes of an impulse in the middle of ``size`` zeros, without scipy."""
    sigma = size * SIGMA_FRACTION
    radius = int(4 * sigma + 0.5)  # scipy's ``truncate``
    kernel = np.exp(-0.5 / (sigma * sigma) * np.arange(-radius, radius + 1) ** 2)
    kernel /= kernel.sum()
    distances = np.arange(size) - size // 2
    return np.where(abs(distances) <= radius, kernel[np.clip(distances + radius, 0, 2 * radius)], 0.0)
