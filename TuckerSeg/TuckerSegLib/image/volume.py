"""The image in memory: voxels on their grid, as read and checked."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass

import numpy as np

from .geometry import Geometry


@dataclass(frozen=True, eq=False)
class Image:
    """Intensities on a grid.

    Attributes:
        array: (C, Z, Y, X), one of uint8, int8, int16, int32, float32: what a file stores is never blown up.
            A CT is in Hounsfield units.
        geometry: The grid, in the orientation of the file.
        source: Path or paths that the image was read from; may be empty for an array of the caller's.
        notes: What a user should know about the image, one sentence each.
    """

    array: np.ndarray
    geometry: Geometry
    source: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.array.ndim != 4 or tuple(self.array.shape[1:]) != self.geometry.shape:
            raise ValueError(
                f"An image is an array (C, Z, Y, X) on its grid; found the array's shape {self.array.shape} "
                f"and the grid's {self.geometry.shape}."
            )

    @functools.cached_property
    def sha256(self) -> str:
        """Digest of all voxels and of the affine, as a hexadecimal string; ``source`` and ``notes`` do not count."""
        matrix = np.asarray(self.geometry.matrix, dtype=np.float64) + 0.0  # no negative zeros
        digest = hashlib.sha256(f"{self.array.shape}{self.array.dtype}".encode())
        digest.update(matrix.tobytes())
        for channel in self.array:
            for part in channel:
                digest.update(np.ascontiguousarray(part))
        return digest.hexdigest()
