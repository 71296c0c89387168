"""Finds the body in a CT: a coarse mask that rather holds too much than too little, in a fraction of a second.

The mask tells patches of air from others, so it must not miss any of the body: lungs, bowel gas and everything between
two parts of the body count as body, and in doubt there is no mask. Knows Hounsfield units and millimeters; nothing of
models, patches and files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .connected_parts import connected_parts

VOXEL_MM = 4.0  # of the mask, or of the volume where that is coarser
MARGIN_MM = 16.0  # skin, hair and what is lost where thin parts fall between two samples
TISSUE_HU = -400.0  # halfway between air and soft tissue, so that the skin's partial volumes count as skin
SMALLEST_BODY_ML = 100.0
SMALLEST_PART_ML = 1.0  # specks of noise are smaller, a fingertip is not
TABLE_LENGTH_MM = 150.0
TABLE_SHARE = 0.9  # of what is dense, along some axis
FAT_HU = -150.0  # half of what is dense in a body is at least as dense as fat
AIR_HU = -700.0


@dataclass(frozen=True)
class Body:
    """Result of the search for the body.

    Attributes:
        mask: Boolean (Z, Y, X), True where the body may be; it covers the whole volume with fewer, larger voxels. None
            where the search is in doubt.
        doubt: Why there is no mask, as a clause that follows "because"; empty where there is one.
    """

    mask: np.ndarray | None
    doubt: str = ""


def find_body(volume: np.ndarray, spacing_mm: Sequence[float]) -> Body:
    """Find the body, and everything else that is dense and thick or lies apart.

    Args:
        volume: HU, (Z, Y, X), of any type and strides; a sample of its voxels is read.
        spacing_mm: Voxel size along (Z, Y, X).

    Returns:
        The mask of the body with a margin of ``MARGIN_MM``, or why there is none.
    """
    values = sample_voxels(volume, coarse_shape(volume.shape, spacing_mm))
    voxel_mm = np.asarray(volume.shape) * spacing_mm / values.shape
    dense = values > TISSUE_HU
    box = _bounding_box(dense)
    tissue = None if box is None else _without_tables_and_specks(dense[box], voxel_mm)
    if tissue is None:
        return Body(None, "no body was found")
    if np.count_nonzero(values[box][tissue] > FAT_HU) < np.count_nonzero(tissue) / 2:
        return Body(None, "most of what was found is not as dense as a body")
    mask = np.zeros_like(dense)
    mask[box] = _fill_gaps(tissue)
    mask = _dilate(mask, np.ceil(MARGIN_MM / voxel_mm).astype(int))
    outside = values[~mask]
    if np.count_nonzero(outside > AIR_HU) > outside.size / 2:
        return Body(None, "what is around the body is not as thin as air")
    return Body(mask)


def coarse_shape(shape: Sequence[int], spacing_mm: Sequence[float]) -> tuple[int, int, int]:
    """Shape (Z, Y, X) of a volume's coarse mask, whose voxels are about ``VOXEL_MM`` wide but no finer than its own."""
    return tuple(max(1, min(size, round(size * spacing / VOXEL_MM))) for size, spacing in zip(shape, spacing_mm))


def sample_voxels(volume: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The voxels of a volume nearest to the centers of a coarser grid of ``shape``; a copy of that shape."""
    indices = [((np.arange(new) + 0.5) * size / new).astype(int) for size, new in zip(volume.shape, shape)]
    return volume[np.ix_(*indices)]


def _bounding_box(mask: np.ndarray) -> tuple[slice, ...] | None:
    """Box around all True voxels with a margin of one voxel, cut at the mask's border; None for an empty mask."""
    box = []
    for axis in range(3):
        hits = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        if not hits.size:
            return None
        box.append(slice(max(int(hits[0]) - 1, 0), int(hits[-1]) + 2))
    return tuple(box)


def _without_tables_and_specks(dense: np.ndarray, voxel_mm: np.ndarray) -> np.ndarray | None:
    """The mask of dense voxels without thin tables and small specks; None where nothing is as large as a body."""
    voxel_ml = float(np.prod(voxel_mm)) / 1000
    thick = _with_neighbors(~_with_neighbors(~dense)) & dense
    if connected_parts(thick).voxels.max(initial=0) * voxel_ml < SMALLEST_BODY_ML:
        return None
    thin = connected_parts(dense & ~thick, diagonally=True)
    keep = (thin.voxels * voxel_ml >= SMALLEST_PART_ML) & ~_are_tables(thin.extents, dense.shape, voxel_mm)
    return thick | thin.mask(keep)


def _are_tables(extents: np.ndarray, shape: Sequence[int], voxel_mm: np.ndarray) -> np.ndarray:
    """Whether thin parts run all along an axis and are long, as tables are and fingers are not; (N, 3) to (N,)."""
    through = (extents >= TABLE_SHARE * np.asarray(shape)).any(axis=1)
    return through & ((extents * voxel_mm).max(axis=1, initial=0) >= TABLE_LENGTH_MM)


def _fill_gaps(mask: np.ndarray) -> np.ndarray:
    """Add every voxel that lies between two True ones along an axis; fills lungs even where the volume cuts them."""
    filled = mask.copy()
    for axis in range(3):
        before = np.logical_or.accumulate(mask, axis)
        after = np.flip(np.logical_or.accumulate(np.flip(mask, axis), axis), axis)
        filled |= before & after
    return filled


def _dilate(mask: np.ndarray, voxels: Sequence[int]) -> np.ndarray:
    """Grow the mask by a number of voxels along each axis, one after the other."""
    for axis, count in enumerate(voxels):
        for _ in range(int(count)):
            mask = mask | _beside(mask, axis)
    return mask


def _with_neighbors(mask: np.ndarray) -> np.ndarray:
    """The mask and every voxel that shares a face with it."""
    return mask | _beside(mask, 0) | _beside(mask, 1) | _beside(mask, 2)


def _beside(mask: np.ndarray, axis: int) -> np.ndarray:
    """The voxels before and after those of the mask along an axis."""
    beside = np.zeros_like(mask)
    source, target = (np.moveaxis(each, axis, 0) for each in (mask, beside))
    target[1:] = source[:-1]
    target[:-1] |= source[1:]
    return beside
