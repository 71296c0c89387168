"""Label maps on one grid: 3D Slicer stores a segmentation cut to its segments' box, on the same lattice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import ImageError
from ..image import Geometry
from ..image.sizes import check_memory
from .label_files import LabelMap, is_segmentation


def on_common_grid(predictions: Sequence[LabelMap], references: Sequence[LabelMap]) -> tuple[list[LabelMap], ...]:
    """Bring label maps to the smallest grid that holds them all; background where a segmentation was cut.

    Args:
        predictions, references: The layers of two files, on one grid each.

    Returns:
        Both on the same grid.

    Raises:
        ImageError: The two lie on different lattices, a file that is no segmentation of 3D Slicer does not cover what
            the other one does, or there is no memory for both together.
    """
    first, second = predictions[0], references[0]
    if first.geometry.same_grid(second.geometry):
        return list(predictions), list(references)
    offset = _whole_voxels(first.geometry, second.geometry)
    if offset is None:
        raise _other_grid(first, second)
    lower = np.minimum(0, offset)
    size = np.maximum(second.geometry.shape, offset + first.geometry.shape) - lower
    grid = Geometry(tuple(size), _moved(second.geometry, lower))
    starts = {id(first): offset - lower, id(second): -lower}
    for labels, start in ((first, starts[id(first)]), (second, starts[id(second)])):
        cut = bool((start > 0).any()) or labels.geometry.shape != grid.shape
        if cut and not is_segmentation(labels.source):
            raise _other_grid(first, second)
        check_memory(labels.source, (len(predictions) + len(references), *grid.shape), labels.array.dtype)
    return (
        [_placed(each, grid, starts[id(first)]) for each in predictions],
        [_placed(each, grid, starts[id(second)]) for each in references],
    )


def on_grid(labels: LabelMap, grid: Geometry) -> LabelMap:
    """A segmentation that was cut out of a grid, on that grid; any other label map as it is.

    Args:
        labels: As they were read.
        grid: The grid of what they are compared with.

    Raises:
        ImageError: There is not the memory for labels on the whole grid.
    """
    offset = _whole_voxels(labels.geometry, grid)
    if offset is None or not is_segmentation(labels.source) or labels.geometry.same_grid(grid):
        return labels
    if (offset < 0).any() or (offset + labels.geometry.shape > np.array(grid.shape)).any():
        return labels
    check_memory(labels.source, grid.shape, labels.array.dtype)
    return _placed(labels, grid, offset)


def _whole_voxels(geometry: Geometry, lattice: Geometry) -> np.ndarray | None:
    """Voxels (Z, Y, X) from the first of ``lattice`` to the first of a grid; None where it lies on another lattice."""
    position = np.linalg.solve(lattice.matrix, geometry.matrix[:, 3])[:3]
    offset = np.rint(position[::-1]).astype(np.int64)
    moved = Geometry(geometry.shape, _moved(lattice, offset))
    return offset if moved.same_grid(geometry) else None


def _moved(geometry: Geometry, offset: np.ndarray) -> np.ndarray:
    """The affine of a grid that begins ``offset`` voxels (Z, Y, X) farther."""
    shift = np.eye(4)
    shift[:3, 3] = offset[::-1]
    return geometry.matrix @ shift


def _placed(labels: LabelMap, grid: Geometry, start: np.ndarray) -> LabelMap:
    array = np.zeros(grid.shape, labels.array.dtype)
    array[tuple(slice(int(first), int(first) + size) for first, size in zip(start, labels.array.shape))] = labels.array
    return replace(labels, array=array, geometry=grid)


def _other_grid(prediction: LabelMap, reference: LabelMap) -> ImageError:
    return ImageError(
        f"{prediction.source}: not on the grid of {reference.source}; found {_described(prediction.geometry)} and "
        f"{_described(reference.geometry)}. Resample one to the other, labels by the nearest voxel."
    )


def _described(geometry: Geometry) -> str:
    sizes = "x".join(str(size) for size in geometry.shape[::-1])
    spacing = " x ".join(f"{value:.4g}" for value in geometry.spacing_mm[::-1])
    origin = ", ".join(f"{row[3]:.1f}" for row in geometry.affine[:3])
    return f"{sizes} voxels of {spacing} mm from ({origin})"
