"""Label arrays: their type, the meaning of their values, and the volume of each structure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..errors import SpecError
from .geometry import Geometry

LARGEST_LABEL = 65535  # what label files hold


@dataclass(frozen=True)
class Segment:
    """A structure in a label array.

    Attributes:
        value: Its label value, 1 or more.
        name: Its name, as users read it.
        color: Red, green, blue, each 0 to 1.
        tags: Further properties that 3D Slicer stores with a segment, such as its terminology entry.
    """

    value: int
    name: str
    color: tuple[float, float, float]
    tags: Mapping[str, str] = field(default_factory=dict)


def label_type(largest: int) -> np.dtype:
    """The smallest type for labels from 0 to ``largest``: uint8 up to 255, uint16 up to 65535.

    Raises:
        SpecError: No label file holds such a value.
    """
    if not 0 <= largest <= LARGEST_LABEL:
        raise SpecError(f"Labels are whole numbers from 0 to {LARGEST_LABEL}; found {largest}. Renumber them.")
    return np.dtype(np.uint8 if largest <= np.iinfo(np.uint8).max else np.uint16)


def voxel_counts(labels: np.ndarray) -> np.ndarray:
    """Count the voxels of each label value, slab by slab.

    Args:
        labels: (Z, Y, X) of uint8 or uint16, in any memory order.

    Returns:
        (256,) or (65536,) int64, by value.
    """
    if labels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"Labels are uint8 or uint16; found {labels.dtype}.")
    values = np.iinfo(labels.dtype).max + 1
    labels = labels.transpose(np.argsort([-abs(stride) for stride in labels.strides]))  # memory order is fastest
    if values == 65536:
        return sum(np.bincount(slab.reshape(-1), minlength=values) for slab in labels)
    # Two bytes are counted at once, which halves the steps; both places of a pair are added up in the end
    pairs, odd = np.zeros((256, 256), dtype=np.int64), np.zeros(256, dtype=np.int64)
    for slab in labels:
        flat = np.ascontiguousarray(slab).reshape(-1)
        even = flat.size // 2 * 2
        pairs += np.bincount(flat[:even].view(np.uint16), minlength=65536).reshape(256, 256)
        odd += np.bincount(flat[even:], minlength=256)
    return pairs.sum(axis=0) + pairs.sum(axis=1) + odd


def segment_volumes_ml(labels: np.ndarray, geometry: Geometry, values: Iterable[int]) -> dict[int, float]:
    """Volume of each structure.

    Args:
        labels: (Z, Y, X) of uint8 or uint16.
        geometry: Its grid.
        values: Label values of the structures.

    Returns:
        Label value to volume in ml, 0.0 for a value that does not occur.
    """
    counts = voxel_counts(labels)
    return {value: float(counts[value] * geometry.voxel_volume_ml) if value < len(counts) else 0.0 for value in values}
