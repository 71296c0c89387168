"""Connected parts of a mask, as ``scipy.ndimage.label`` finds them, whose import takes longer than a search for a body.

A mask is seen as runs of True voxels along X; runs that touch belong together.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ConnectedParts:
    """The connected parts of a mask, numbered from 0.

    Attributes:
        voxels: Of each part, (N,).
        extents: Voxels from each part's first to its last plane along (Z, Y, X), (N, 3).
    """

    voxels: np.ndarray
    extents: np.ndarray
    _shape: tuple[int, int, int]
    _runs: tuple[np.ndarray, np.ndarray, np.ndarray]  # first voxel and the one after the last, padded; part

    def mask(self, chosen: np.ndarray) -> np.ndarray:
        """A new mask of the parts for which ``chosen`` (N,) is True."""
        starts, ends, parts = self._runs
        padded = _padded_shape(self._shape)
        changes = np.zeros(np.prod(padded), dtype=np.int8)
        changes[starts] += chosen[parts]
        changes[ends] -= chosen[parts]
        return np.cumsum(changes, dtype=np.int8).view(bool).reshape(padded)[:, 1:-1, 1:-1].copy()


def connected_parts(mask: np.ndarray, diagonally: bool = False) -> ConnectedParts:
    """Find the connected parts of a mask.

    Args:
        mask: Boolean (Z, Y, X).
        diagonally: Whether voxels that share an edge or a corner touch, or those alone that share a face.
    """
    padded = np.zeros(_padded_shape(mask.shape), dtype=np.int8)  # no run reaches another line, or a line another plane
    padded[:, 1:-1, 1:-1] = mask
    changes = np.diff(padded.ravel())
    starts, ends = np.flatnonzero(changes == 1) + 1, np.flatnonzero(changes == -1) + 1
    first, second = _touching(starts, ends, padded.shape, diagonally)
    parts, count = _joined(len(starts), first, second)
    z, y, x = np.unravel_index(starts, padded.shape)
    extents = [_spread(parts, count, low, high) for low, high in ((z, z), (y, y), (x, x + ends - starts - 1))]
    voxels = np.bincount(parts, ends - starts, count).astype(int)
    return ConnectedParts(voxels, np.stack(extents, axis=1), mask.shape, (starts, ends, parts))


def _padded_shape(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    return shape[0], shape[1] + 2, shape[2] + 2


def _touching(
    starts: np.ndarray, ends: np.ndarray, shape: tuple[int, int, int], diagonally: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of runs that touch, each once; numbers of the runs."""
    reach = int(diagonally)  # along X
    steps = [(dz, dy) for dz, dy in itertools.product((0, 1), (-1, 0, 1)) if (dz, dy) > (0, 0)]
    firsts, seconds = [], []
    for dz, dy in steps:
        if not diagonally and abs(dz) + abs(dy) > 1:
            continue
        offset = (dz * shape[1] + dy) * shape[2]
        begin = np.searchsorted(ends, starts + (offset - reach), side="right")
        counts = np.maximum(np.searchsorted(starts, ends + (offset + reach)) - begin, 0)
        first = np.repeat(np.arange(len(starts)), counts)
        firsts.append(first)
        seconds.append(np.arange(len(first)) + np.repeat(begin - np.cumsum(counts) + counts, counts))
    return np.concatenate(firsts), np.concatenate(seconds)


def _joined(count: int, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, int]:
    """The part of each of ``count`` runs, and the number of parts; ``first`` and ``second`` are pairs that touch."""
    lowest = np.arange(count)  # of the runs known to belong to the same part
    while len(first):
        low = np.minimum(lowest[first], lowest[second])
        for runs in (lowest[first], lowest[second]):
            np.minimum.at(lowest, runs, low)
        while (jumped := lowest[lowest]).tobytes() != lowest.tobytes():
            lowest = jumped
        apart = lowest[first] != lowest[second]
        first, second = first[apart], second[apart]
    roots, parts = np.unique(lowest, return_inverse=True)
    return parts, len(roots)


def _spread(parts: np.ndarray, count: int, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Voxels from the lowest to the highest of each part's runs along one axis."""
    least, most = np.full(count, np.iinfo(int).max), np.zeros(count, dtype=int)
    np.minimum.at(least, parts, low)
    np.maximum.at(most, parts, high)
    return most - least + 1
