"""Label files that tests of ``evaluate`` compare, and the tables that it writes."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from TuckerSegLib.catalog.structures import title_of
from TuckerSegLib.image import Geometry, Segment, write_labels

SPACING_MM = (4.0, 2.0, 1.0)  # (Z, Y, X)
GRAY = (0.5, 0.5, 0.5)


def boxes(**corners: int) -> np.ndarray:
    """Cubes of 4 voxels of the labels ``v1``, ``v2``, ... from a corner on along all axes; (16, 16, 16)."""
    labels = np.zeros((16, 16, 16), np.uint8)
    for name, corner in corners.items():
        labels[corner : corner + 4, corner : corner + 4, corner : corner + 4] = int(name[1:])
    return labels


def save(path: Path, labels: np.ndarray, names: dict[int, str] | None = None, spacing_mm=SPACING_MM) -> Path:
    """Write labels (Z, Y, X) as the path's extension says; a .seg.nrrd with names."""
    path.parent.mkdir(exist_ok=True)
    segments = [Segment(value, title_of(name), GRAY) for value, name in (names or {}).items()]
    write_labels(path, labels, Geometry(labels.shape, np.diag([*spacing_mm[::-1], 1.0])), segments)
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
