"""Cleans labels after all networks have run: nnU-Net's rules, and what TotalSegmentator does for ``body``.

TotalSegmentator cleans on the network's grid, this file on the image's, where the same voxels are repeated.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..errors import SpecError
from ..image import Geometry
from ..monitor import Monitor
from ..records.cleaning import Cleaning
from .largest_component import keep_largest_components

TRUNK, EXTREMITIES = "body_trunc", "body_extremities"
SMALLEST_EXTREMITY_MM3 = 50_000.0  # TotalSegmentator's


def clean(
    labels: np.ndarray,
    cleaning: Cleaning,
    names: Mapping[int, str],
    geometry: Geometry,
    monitor: Monitor | None = None,
    mask: np.ndarray | None = None,
) -> str:
    """Clean labels in place.

    Args:
        labels: (Z, Y, X), whole numbers.
        cleaning: How.
        names: Every label value to its name.
        geometry: Of the labels.
        monitor: Asked between steps whether to stop.
        mask: (Z, Y, X), where labels may stay; ``vertebrae_pp_refined`` needs it, and no other looks at it.

    Returns:
        What was done, for the user.

    Raises:
        SpecError: The labels are not those of the task whose cleaning is asked for.
        Cancelled: The monitor said so.
    """
    if cleaning.kind == "rules":
        changed = keep_largest_components(labels, cleaning.rules, monitor)
        return f"By {len(cleaning.rules)} rules of the post-processing {changed} voxels became background."
    if cleaning.kind in ("vertebrae_pp", "vertebrae_pp_refined"):
        from .vertebrae import clean_vertebrae, refine_vertebrae

        done = clean_vertebrae(labels, names, geometry)
        return done if cleaning.kind == "vertebrae_pp" else f"{done} {refine_vertebrae(labels, geometry, mask)}"
    return _clean_body(labels, names, geometry, monitor or Monitor())


def value_of(names: Mapping[int, str], name: str, task: str) -> int:
    """The value of a structure by its name.

    Raises:
        SpecError: There is none of that name.
    """
    for value, own in names.items():
        if own == name:
            return value
    raise SpecError(f"The post-processing of {task} needs the structure {name}; the model has none of that name.")


def _clean_body(labels: np.ndarray, names: Mapping[int, str], geometry: Geometry, monitor: Monitor) -> str:
    """The largest blob of the trunk, and the extremities that are not too small to be any."""
    from scipy import ndimage

    voxel_mm3, changed = geometry.voxel_volume_ml * 1000, 0
    for name in (TRUNK, EXTREMITIES):
        monitor.check()
        blobs, _ = ndimage.label(labels == value_of(names, name, "body"))
        sizes = np.bincount(blobs.ravel())
        if len(sizes) < 2:
            continue
        if name == TRUNK:
            removed = np.arange(len(sizes)) != sizes[1:].argmax() + 1
        else:
            removed = sizes <= SMALLEST_EXTREMITY_MM3 / voxel_mm3
        removed[0] = False
        gone = removed[blobs]
        changed += int(gone.sum())
        labels[gone] = 0
    return f"The largest trunk stayed, and extremities of more than 50 ml: {changed} voxels became background."
