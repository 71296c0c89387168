"""Draws label maps over an image, in three planes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..catalog import structures
from ..files.atomic_writes import written_whole
from ..image import Image, oriented

PLANES = ("axial", "coronal", "sagittal")
WINDOW_HU = (-200, 300)
WIDTH_INCHES = 10
TITLE_VOXELS = 15  # room for a row's titles, in voxels of the picture


def draw_overlays(volume: Image, label_maps: dict[str, np.ndarray], label_names: dict[int, str], path: Path) -> Path:
    """Draw every label map over the image, and where the last map differs from the first; one row per plane.

    Args:
        volume: The image; voxels are drawn square.
        label_maps: Title to labels (Z, Y, X) on the image's grid.
        label_names: Label value to name; both decide the color.
        path: The PNG file.

    Returns:
        The path.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        OutputError: The file cannot be written.
    """
    from matplotlib.figure import Figure

    intensities = oriented(volume.array[0], volume.geometry, "RAS")[0]
    maps = {title: oriented(labels, volume.geometry, "RAS")[0] for title, labels in label_maps.items()}
    first, last = next(iter(maps.values())), list(maps.values())[-1]
    cuts = _cuts(first)
    heights = [intensities[cut].shape[0] + TITLE_VOXELS for cut in cuts]
    width = max(intensities[cut].shape[1] for cut in cuts)
    size = (WIDTH_INCHES, WIDTH_INCHES * sum(heights) / ((len(maps) + 1) * width))
    figure = Figure(figsize=size, facecolor="white", layout="constrained")
    axes = figure.subplots(len(PLANES), len(maps) + 1, gridspec_kw={"height_ratios": heights})
    for row, plane, cut in zip(axes, PLANES, cuts):
        overlays = {title: _colors(labels[cut], label_names) for title, labels in maps.items()}
        overlays["differences"] = _differences(first[cut], last[cut])
        for cell, (title, overlay) in zip(row, overlays.items()):
            cell.imshow(intensities[cut], cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1], origin="lower")
            cell.imshow(overlay, origin="lower", interpolation="nearest")
            cell.set_title(f"{title}, {plane}", fontsize=10)
            cell.axis("off")
    with written_whole(path) as beside:
        figure.savefig(beside, format="png", dpi=100)
    return path


def _cuts(labels: np.ndarray) -> list[tuple]:
    """One slice per plane, through the median of the labeled voxels."""
    labeled = np.nonzero(labels)
    z, y, x = (int(np.median(axis)) if axis.size else size // 2 for axis, size in zip(labeled, labels.shape))
    whole = slice(None)
    return [(z, whole, whole), (whole, y, whole), (whole, whole, x)]


def _colors(labels: np.ndarray, label_names: dict[int, str]) -> np.ndarray:
    table = np.zeros((int(labels.max()) + 1, 4))
    for value, name in label_names.items():
        if 0 < value < len(table):
            table[value] = (*structures.color_of(value, name), 0.55)
    return table[labels]


def _differences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    overlay = np.zeros((*first.shape, 4))
    overlay[first != second] = (1.0, 0.1, 0.1, 0.8)
    return overlay
