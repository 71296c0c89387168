"""Where an image is not zero, as nnunetv2's ``crop_to_nonzero`` finds it."""

from __future__ import annotations

import numpy as np

from ..errors import ImageError


def nonzero_box(volume: np.ndarray, source: str) -> tuple[slice, slice, slice]:
    """Bounding box of the voxels that are nonzero in any channel.

    Args:
        volume: (C, Z, Y, X).
        source: The image's name, for messages.

    Returns:
        Slices of (Z, Y, X).

    Raises:
        ImageError: Every voxel is zero.
    """
    box = []
    for axis in range(1, 4):
        occupied = np.flatnonzero(_first_hits(volume, axis))
        if occupied.size == 0:
            raise ImageError(f"{source}: every voxel is zero; there is nothing to segment.")
        box.append(slice(int(occupied[0]), int(occupied[-1]) + 1))
    return tuple(box)


def _first_hits(volume: np.ndarray, axis: int) -> np.ndarray:
    """Which slices along an axis hold anything. Only the slices from both ends up to the first hit are looked at."""
    hits = np.zeros(volume.shape[axis], dtype=bool)
    for indices in (range(len(hits)), range(len(hits) - 1, -1, -1)):
        for index in indices:
            if volume.take(index, axis).any():
                hits[index] = True
                break
    return hits


def filled_mask(volume: np.ndarray) -> np.ndarray:
    """nnU-Net's nonzero mask: nonzero in any channel, holes filled."""
    from scipy.ndimage import binary_fill_holes

    return binary_fill_holes((volume != 0).any(axis=0))
