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


def gaussian_weights(patch_shape: Sequence[int]) -> torch.Tensor:
    """Gaussian weights around the center of a patch; none is zero.

    They are rounded to float16, as nnU-Net does it, so that patches are weighted exactly as there.

    Returns:
        float32, (Z, Y, X), on the CPU. The tensor is shared: do not write into it.
    """
    return _gaussian_weights(tuple(int(size) for size in patch_shape))


@lru_cache(maxsize=2)
def _gaussian_weights(patch_shape: tuple[int, ...]) -> torch.Tensor:
    from scipy.ndimage import gaussian_filter

    impulse = np.zeros(patch_shape)
    impulse[tuple(size // 2 for size in patch_shape)] = 1
    weights = gaussian_filter(impulse, [size * SIGMA_FRACTION for size in patch_shape], mode="constant", cval=0)
    weights /= weights.max() / PEAK
    weights = torch.from_numpy(weights).to(torch.float16)
    weights[weights == 0] = weights[weights > 0].min()
    return weights.to(torch.float32)
