"""Volumes as an application hands them over to the worker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from TuckerSegLib.records.protocol import VolumeFile
from TuckerSegLib.records.serialization import to_json

AFFINE = ((-2.0, 0.0, 0.0, 30.0), (0.0, 2.5, 0.0, -40.0), (0.0, 0.0, 3.0, 5.0), (0.0, 0.0, 0.0, 1.0))


@dataclass(frozen=True, eq=False)
class HandedVolume:
    """A volume as an application hands it over: voxels (Z, Y, X), and the record with its file."""

    voxels: np.ndarray
    file: VolumeFile

    @property
    def document(self) -> dict[str, Any]:
        return to_json(self.file)


def hand_over_noise(folder: Path, shape=(40, 36, 44), affine=AFFINE, name="noise") -> HandedVolume:
    """Write smooth noise in the range of HU, of a shape (Z, Y, X) and affine, to a folder."""
    coarse = np.random.default_rng(sum(shape)).normal(size=(6, 6, 6)) * 500
    for axis, size in enumerate(shape):
        where = np.linspace(0, 5, size)
        lower = np.minimum(where.astype(int), 4)
        weight = (where - lower).reshape([-1 if other == axis else 1 for other in range(3)])
        coarse = coarse.take(lower, axis) * (1 - weight) + coarse.take(lower + 1, axis) * weight
    voxels = coarse.clip(-1000, 1500).astype(np.int16)
    path = folder / f"{name}.npy"
    np.save(path, voxels)
    return HandedVolume(voxels, VolumeFile(str(path), shape, affine, name, f"{name}-{shape}"))
