"""Makes an image of an array in memory, with the same checks as for a file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import ImageError
from .checks import check_geometry, cleaned
from .geometry import Geometry
from .stored import compact
from .volume import Image


def image_from_array(
    array: np.ndarray,
    spacing_mm: Sequence[float] | None = None,
    affine: np.ndarray | None = None,
    source: str = "array",
    modality: str = "CT",
) -> Image:
    """Make an image of an array.

    Args:
        array: (Z, Y, X), or (C, Z, Y, X) with channels; any real type. A CT is in Hounsfield units. Not changed;
            the image may share its memory.
        spacing_mm: Voxel size (Z, Y, X); x then grows to the right, y to the front, z upwards (RAS).
        affine: Instead: 4x4 matrix from voxel index (x, y, z) to RAS mm.
        source: The image's name in messages and statistics.
        modality: As for ``read_image``: NaN is air in a CT.

    Returns:
        The image, with notes on what was changed, such as NaN voxels.

    Raises:
        ImageError: The array has another shape or type, neither or both of spacing and affine are given, or the grid
            cannot be segmented.

    Example:
        >>> ct = image_from_array(hounsfield_units, spacing_mm=(3.0, 1.5, 1.5))
        >>> labels = segment(ct, load_model("demo")).labels
    """
    array = np.asarray(array)
    if array.ndim not in (3, 4) or array.dtype.kind not in "iuf":
        raise ImageError(
            f"{source}: expected numbers (Z, Y, X) or (C, Z, Y, X); found shape {array.shape} of {array.dtype}."
        )
    if (spacing_mm is None) == (affine is None):
        raise ImageError(f"{source}: give either spacing_mm (Z, Y, X) or an affine.")
    if affine is None:
        affine = np.diag([*tuple(spacing_mm)[::-1], 1.0])
    channels = array if array.ndim == 4 else array[None]
    geometry = Geometry(channels.shape[1:], affine)
    notes = check_geometry(geometry, source)
    values = []
    for channel in channels:
        stored = compact(channel)
        if stored is channel and stored.dtype.kind == "f" and not np.isfinite(stored).all():
            stored = stored.copy()  # cleaning works in place, and this is the caller's
        clean, value_notes = cleaned(stored, source, modality=modality)
        values.append(clean)
        notes += value_notes
    return Image(
        np.stack(values) if len(values) > 1 else values[0][None], geometry, source, tuple(dict.fromkeys(notes))
    )
