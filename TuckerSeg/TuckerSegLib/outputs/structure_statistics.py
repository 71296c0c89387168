"""Volume and mean intensity of every structure as a JSON file with the names that TotalSegmentator's has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..image import Geometry
from ..text_files import write_text

BORDER_VOXELS = 3  # within which a structure counts as cut, and is left out


def structure_statistics(
    labels: np.ndarray, values: np.ndarray, geometry: Geometry, names: Mapping[int, str], cut_ones: bool = False
) -> dict[str, dict[str, float]]:
    """Volume and mean intensity of every structure, found or not.

    Args:
        labels: (Z, Y, X), whole numbers.
        values: Of the image, (Z, Y, X); fractions are cut off, as TotalSegmentator does.
        geometry: Of both.
        names: Every label value to its name.
        cut_ones: Tell of structures that reach the image's border, too; else both of their numbers are 0.

    Returns:
        By name: ``volume`` in mm3, and ``intensity``, which is in HU of a CT, to five decimals.
    """
    size = max(int(labels.max(initial=0)), max(names, default=0)) + 1
    counts, sums = np.zeros(size, np.int64), np.zeros(size)
    for plane, intensities in zip(labels, values, strict=True):
        counts += np.bincount(plane.ravel(), minlength=size)
        sums += np.bincount(plane.ravel(), weights=np.trunc(intensities).ravel(), minlength=size)
    cut = set() if cut_ones else _at_border(labels)
    voxel_mm3, statistics = geometry.voxel_volume_ml * 1000, {}
    for value, name in sorted(names.items()):
        there = counts[value] and value not in cut
        statistics[name] = {
            "volume": float(counts[value] * voxel_mm3) if there else 0.0,
            "intensity": round(float(sums[value] / counts[value]), 5) if there else 0.0,
        }
    return statistics


def write_structure_statistics(path: Path, statistics: Mapping[str, Mapping[str, float]]) -> None:
    """Write them as JSON.

    Raises:
        OutputError: The file cannot be written.
    """
    write_text(path, json.dumps(statistics, indent=4))


def _at_border(labels: np.ndarray) -> set[int]:
    """Values that occur near the border of the image."""
    near: set[int] = set()
    for axis in range(3):
        lines = np.moveaxis(labels, axis, 0)
        for part in (lines[:BORDER_VOXELS], lines[-BORDER_VOXELS:]):
            near.update(np.unique(part).tolist())
    return near
