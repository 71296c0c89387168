"""Keeps the largest blob of labels, as nnunetv2's ``remove_all_but_largest_component_from_segmentation``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..monitor import Monitor
from ..records.cleaning import LargestComponentRule


def keep_largest_components(
    labels: np.ndarray, rules: Sequence[LargestComponentRule], monitor: Monitor | None = None
) -> int:
    """Apply rules one after the other, in place. Voxels that share a face, an edge or a corner belong to one blob.

    Of blobs of one size all stay, as with nnU-Net.

    Args:
        labels: (Z, Y, X), whole numbers.
        rules: In their order.
        monitor: Asked before each rule whether to stop.

    Returns:
        The number of voxels that became background.

    Raises:
        Cancelled: The monitor said so.
    """
    from scipy import ndimage

    changed, monitor = 0, monitor or Monitor()
    neighbors = np.ones((3, 3, 3), bool)
    for rule in rules:
        monitor.check()
        table = np.zeros(np.iinfo(labels.dtype).max + 1, bool)
        table[[value for value in rule.labels if value < len(table)]] = True
        blobs, count = ndimage.label(table[labels], neighbors)
        if count < 2:
            continue
        sizes = np.bincount(blobs.ravel())
        sizes[0] = 0
        small = sizes < sizes.max()
        small[0] = False
        removed = small[blobs]
        changed += int(removed.sum())
        labels[removed] = rule.background
    return changed
