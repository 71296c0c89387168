"""nnU-Net's intensity normalization as clip, subtract, divide: an elementwise map, so it can run slab by slab.

Follows nnunetv2 2.x ``preprocessing/normalization/default_normalization_schemes.py``; equality is tested.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import ImageError, UnsupportedModelError
from .plans import ChannelNormalization

EPSILON = 1e-8  # as nnU-Net for float32


@dataclass(frozen=True)
class IntensityMap:
    """The normalization of one channel: ``(clip(x, lower, upper) - subtract) / divide``, in float32."""

    lower: float = -np.inf
    upper: float = np.inf
    subtract: float = 0.0
    divide: float = 1.0

    def apply_(self, values: np.ndarray) -> np.ndarray:
        """Map float32 ``values`` in place and return them."""
        if np.isfinite(self.lower) or np.isfinite(self.upper):
            np.clip(values, self.lower, self.upper, out=values)
        values -= np.float32(self.subtract)
        values /= np.float32(self.divide)
        return values


def intensity_map(channel: np.ndarray, plan: ChannelNormalization, mask: np.ndarray | None = None) -> IntensityMap:
    """The normalization that plans ask for, with the statistics of one channel of an image where it needs them.

    Args:
        channel: (Z, Y, X), the cropped image before resampling, any dtype.
        plan: What the model's plans ask for.
        mask: (Z, Y, X) bool, the region that statistics are taken from; None for all voxels.

    Raises:
        UnsupportedModelError: A normalization that is not nnU-Net's own.
        ImageError: RGB data outside 0..255.
    """
    if plan.scheme == "CTNormalization":
        return IntensityMap(plan.percentile_00_5, plan.percentile_99_5, plan.mean, max(plan.std, EPSILON))
    if plan.scheme == "ZScoreNormalization":
        values = channel[mask] if mask is not None else channel
        mean, std = _mean_and_std(values)
        return IntensityMap(subtract=mean, divide=max(std, EPSILON))
    if plan.scheme == "NoNormalization":
        return IntensityMap()
    lowest, highest = float(channel.min()), float(channel.max())
    if plan.scheme == "RescaleTo01Normalization":
        return IntensityMap(subtract=lowest, divide=max(highest - lowest, EPSILON))
    if plan.scheme == "RGBTo01Normalization":
        if lowest < 0 or highest > 255:
            raise ImageError(f"The model expects RGB values 0..255; found {lowest:g}..{highest:g}.")
        return IntensityMap(divide=255.0)
    raise UnsupportedModelError(f"The normalization '{plan.scheme}' is not one of nnU-Net's own.")


def _mean_and_std(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation in float64, one slice at a time, so that a large volume is not copied as a whole."""
    slices = values if values.ndim > 1 else values[None]
    count = values.size
    mean = sum(float(part.sum(dtype=np.float64)) for part in slices) / count
    square = sum(float(np.square(part.astype(np.float64) - mean).sum()) for part in slices)
    return mean, float(np.sqrt(square / count))
