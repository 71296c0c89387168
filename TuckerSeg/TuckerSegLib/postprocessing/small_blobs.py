"""Removes small separate blobs of structures from a label map, which are mostly mistakes of the network.

As TotalSegmentator's ``--remove_small_blobs``: voxels that share a face belong to one blob, and blobs of up to a given
volume are removed. TotalSegmentator does so on the network's grid, this file on the image's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..monitor import Monitor


@dataclass(frozen=True)
class Removed:
    """Counts of a removal of small blobs.

    Attributes:
        blobs_before: Number of blobs of all structures before.
        blobs: Number of removed blobs, by label value.
        voxels: Number of voxels that became background.
        gone: Label values of which nothing is left.
    """

    blobs_before: int
    blobs: dict[int, int]
    voxels: int
    gone: tuple[int, ...]


def remove_small_blobs(labels: np.ndarray, largest_voxels: float, monitor: Monitor | None = None) -> Removed:
    """Make small separate blobs of all structures background, in place.

    Args:
        labels: (Z, Y, X), whole numbers.
        largest_voxels: Blobs of up to so many voxels are removed.
        monitor: Asked before each structure whether to stop.

    Raises:
        Cancelled: The monitor said so.
    """
    from scipy import ndimage

    monitor = monitor or Monitor()
    blobs: dict[int, int] = {}
    before, voxels, gone = 0, 0, []
    for value, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        monitor.check()
        part = labels[box]
        numbers, count = ndimage.label(part == value)
        before += count
        sizes = np.bincount(numbers.ravel(), minlength=count + 1)
        small = sizes <= largest_voxels
        small[0] = False  # the background
        if small.any():
            blobs[value] = int(small.sum())
            voxels += int(sizes[small].sum())
            part[small[numbers]] = 0
            if small[1:].all():
                gone.append(value)
    return Removed(before, blobs, voxels, tuple(gone))
