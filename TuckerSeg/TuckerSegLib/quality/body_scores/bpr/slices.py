"""Slices as Body Part Regression's network wants them: 128 x 128 pixels of 3.5 mm, from -1 to 1.

Axes are (X, Y) within a slice, as that program has them. The network was trained on mirrored and turned slices, too.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from ....errors import ImageError

PIXEL_MM = 3.5
SIZE = 128
RANGE_HU = (-1000.0, 1500.0)
SIGMA = 0.8 * 0.25  # pixels times the scale factor: 0.8 pixels where slices become a quarter as wide
TRUNCATE = 3.0  # of the Gaussian, in sigmas
MOST_FIELD_MM = 3000.0  # a wider field of view than any scanner has, and a slice that would take too much memory


def network_slices(volume: np.ndarray, spacing_mm: tuple[float, float]) -> np.ndarray:
    """Prepare slices for the network.

    Args:
        volume: (Z, Y, X) in HU.
        spacing_mm: Within the slices, (Y, X).

    Returns:
        (Z, 1, 128, 128) float32, axes (X, Y), padded by -1 around the middle or cut there.

    Raises:
        ImageError: The slices are wider than any scanner's.
    """
    field_mm = max(size * mm for size, mm in zip(volume.shape[1:], spacing_mm))
    if field_mm > MOST_FIELD_MM:
        raise ImageError(
            f"The slices are {field_mm:.0f} mm wide; Body Part Regression takes {MOST_FIELD_MM:.0f} mm at most. "
            "Check the spacing that the header states."
        )
    lowest, highest = RANGE_HU
    slices = np.clip(np.swapaxes(volume, 1, 2).astype(np.float32), lowest, highest)
    slices = (slices - lowest) * (2 / (highest - lowest)) - 1
    spacing = spacing_mm[::-1]
    shape = [max(1, int(size * mm / PIXEL_MM + 0.5)) for size, mm in zip(slices.shape[1:], spacing)]
    sigmas = [SIGMA * before / after for before, after in zip(slices.shape[1:], shape)]
    slices = gaussian_filter(slices, (0, *sigmas), truncate=TRUNCATE)
    resized = torch.nn.functional.interpolate(torch.from_numpy(slices)[:, None], shape, mode="bilinear")
    return _centered(resized[:, 0].numpy())[:, None]


def _centered(slices: np.ndarray) -> np.ndarray:
    """(Z, 128, 128): what is missing around the middle is -1, what is too much is cut."""
    centered = np.full((len(slices), SIZE, SIZE), -1.0, dtype=np.float32)
    source, target = [], []
    for size in slices.shape[1:]:
        cut, pad = max(0, size - SIZE) // 2, max(0, SIZE - size) // 2
        source.append(slice(cut, cut + min(size, SIZE)))
        target.append(slice(pad, pad + min(size, SIZE)))
    centered[:, target[0], target[1]] = slices[:, source[0], source[1]]
    return centered
