"""The slices that an image was read from, for what refers to them; their pixels are not read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .choosing import choose, contents_of
from .header import Slice
from .reading import LPS_TO_RAS, has_own_grid


@dataclass(frozen=True, eq=False)
class SourceSlices:
    """Slices in the order in which ``read_dicom`` has them.

    Attributes:
        slices: Each with its file, its frame and its place.
        distance_mm: Of two slices, as usual.
        on_own_grid: Whether the planes of what was read are these slices; else it was resampled.
    """

    slices: tuple[Slice, ...]
    distance_mm: float
    on_own_grid: bool

    def labels_by_slice(self, labels: np.ndarray, affine: np.ndarray) -> np.ndarray:
        """Labels of what was read, on the slices.

        Args:
            labels: (Z, Y, X) on the grid of what was read.
            affine: Of that grid, voxel index (x, y, z) to RAS mm.

        Returns:
            (N, rows, columns): the same, or the nearest voxel of each pixel where slices were resampled.
        """
        if self.on_own_grid:
            return labels
        to_index = np.linalg.inv(affine) @ LPS_TO_RAS
        pixel_format = self.slices[0].file.format
        return np.stack([_at(labels, to_index, each, pixel_format.rows, pixel_format.columns) for each in self.slices])


def source_slices(path: Path, series: str | None = None, modality: str = "CT") -> SourceSlices:
    """The slices that ``read_dicom`` reads with the same arguments.

    Raises:
        ImageError: As ``read_dicom``.
    """
    volume, _ = choose(contents_of(Path(path)), series, modality)
    return SourceSlices(tuple(volume.stack.slices), volume.stack.distance_mm, has_own_grid(volume.stack))


def _at(labels: np.ndarray, to_index: np.ndarray, each: Slice, rows: int, columns: int) -> np.ndarray:
    place = each.place
    along_x = place.directions[0] * place.spacing[1]
    along_y = place.directions[1] * place.spacing[0]
    matrix = to_index[:3, :3]
    start = matrix @ place.position + to_index[:3, 3]
    x, y = np.arange(columns)[None, :, None], np.arange(rows)[:, None, None]
    index = np.rint(start + x * (matrix @ along_x) + y * (matrix @ along_y)).astype(int)  # (rows, columns, x y z)
    sizes = np.array(labels.shape[::-1])
    inside = ((index >= 0) & (index < sizes)).all(axis=-1)
    index = np.clip(index, 0, sizes - 1)
    return np.where(inside, labels[index[..., 2], index[..., 1], index[..., 0]], 0).astype(labels.dtype)
