"""Checks whether an image can be segmented: its grid and its values.

Errors stop a run that would give a wrong result; notes tell what was assumed or changed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import ImageError
from .geometry import Geometry

OUTSIDE_HU = -1024.0  # what scanners write where nothing was measured
LEAST_AIR_HU = -900.0  # scanners' air is below, lung above
SMALLEST_AXIS = 2  # one slice has no neighbors to be resampled from, and its thickness is not known
SPACING_LIMITS_MM = (0.01, 100.0)
USUAL_SPACING_MM = (0.1, 20.0)
FARTHEST_MM = 1e6  # of the first voxel from the scanner's origin: a kilometer
SHEAR_LIMIT_DEGREES = 5.0  # beyond it, a grid taken for orthogonal is off by 4 cm over half a meter
SHEAR_NOTE_DEGREES = 0.05  # below: rounding of the directions in the file


def check_geometry(geometry: Geometry, source: str) -> tuple[str, ...]:
    """Refuse grids that cannot be segmented.

    An axis of fewer than 2 voxels, a spacing outside 0.01 to 100 mm, and a shear above 5 degrees are refused.

    Args:
        geometry: The grid.
        source: Name of the file, for messages.

    Returns:
        Notes about what is unusual.

    Raises:
        ImageError: The grid cannot be segmented; the message names the file, the problem and what to do.
    """
    sizes = "x".join(str(size) for size in geometry.shape[::-1])
    if 0 in geometry.shape:
        raise ImageError(f"{source}: empty, it holds no voxels (size {sizes}). Export the image again.")
    if min(geometry.shape) < SMALLEST_AXIS:
        raise ImageError(
            f"{source}: not a volume; at least {SMALLEST_AXIS} voxels are needed along each axis, found {sizes}. "
            "Give the whole scan, not a slice of it."
        )
    matrix = geometry.matrix
    if not np.isfinite(matrix).all():
        raise ImageError(
            f"{source}: its position holds NaN or infinite numbers. Correct its header or export it again."
        )
    if np.abs(matrix[:3, 3]).max() > FARTHEST_MM:
        raise ImageError(
            f"{source}: its first voxel lies at {', '.join(f'{value:.4g}' for value in matrix[:3, 3])} mm; expected "
            f"{FARTHEST_MM:g} mm at most. Correct the origin in its header or export it again."
        )
    spacing = geometry.spacing_mm
    text = " x ".join(f"{value:.4g}" for value in spacing[::-1])
    if min(spacing) <= 0 or geometry.voxel_volume_ml * 1000 < 1e-6 * np.prod(spacing):
        raise ImageError(
            f"{source}: voxels without a volume (spacing {text} mm, or two axes along the same direction). "
            "Correct its header or export it again."
        )
    if min(spacing) < SPACING_LIMITS_MM[0] or max(spacing) > SPACING_LIMITS_MM[1]:
        raise ImageError(
            f"{source}: spacing {text} mm cannot be a patient's scan; expected {SPACING_LIMITS_MM[0]} to "
            f"{SPACING_LIMITS_MM[1]:g} mm. Was it written in meters or micrometers? Correct its header."
        )
    shear = geometry.shear_degrees
    if shear > SHEAR_LIMIT_DEGREES:
        raise ImageError(
            f"{source}: its axes are sheared by {shear:.1f} degrees (gantry tilt?); up to {SHEAR_LIMIT_DEGREES:g} can "
            "be segmented. Resample it to an orthogonal grid first, in 3D Slicer with 'Resample Scalar/Vector/DWI "
            "Volume', or in DICOM import with 'Acquisition geometry regularization'."
        )
    return _geometry_notes(spacing, text, shear)


def _geometry_notes(spacing: tuple[float, ...], text: str, shear: float) -> tuple[str, ...]:
    notes = []
    if min(spacing) < USUAL_SPACING_MM[0] or max(spacing) > USUAL_SPACING_MM[1]:
        notes.append(f"The spacing is unusual: {text} mm.")
    if shear > SHEAR_NOTE_DEGREES:
        notes.append(f"The axes are sheared by {shear:.2f} degrees; the voxels were taken for right-angled.")
    return tuple(notes)


def cleaned(
    array: np.ndarray, source: str, missing_value: float | None = None, modality: str = "CT"
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Replace NaN and infinite voxels, which were not measured, in place.

    Args:
        array: (Z, Y, X); only floats can hold such voxels.
        source: Name of the file, for messages.
        missing_value: With it, NaN becomes this value, and infinite voxels stay.
        modality: Of a CT they become air: the smallest finite value where that is air, else -1024 HU. Else they become
            the smallest finite value.

    Returns:
        The array, and a note on how many voxels were replaced.

    Raises:
        ImageError: No voxel is finite.
    """
    if array.dtype.kind != "f":
        return array, ()
    if missing_value is not None:
        return _replaced(array, np.isnan, missing_value, f"NaN and were set to {missing_value:g}.")
    if all(np.isfinite(slab).all() for slab in array):
        return array, ()
    finite = (slab[np.isfinite(slab)] for slab in array)
    value = min((float(values.min()) for values in finite if values.size), default=None)
    if value is None:
        raise ImageError(f"{source}: no voxel holds a finite number. Export the image again.")
    said = "the smallest value, "
    if modality == "CT" and value > LEAST_AIR_HU:
        value, said = OUTSIDE_HU, "air, "
    return _replaced(array, lambda slab: ~np.isfinite(slab), value, f"NaN or infinite and were set to {said}{value:g}.")


def _replaced(
    array: np.ndarray, is_bad: Callable[[np.ndarray], np.ndarray], value: float, said: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Replace voxels slab by slab, in place; the array, and a note on how many they were."""
    count = 0
    for slab in array:
        bad = is_bad(slab)
        if bad.any():
            slab[bad] = value
            count += int(bad.sum())
    return array, (f"{count} of {array.size} voxels were {said}",) if count else ()


def is_constant(array: np.ndarray) -> bool:
    """Whether all voxels of an array (Z, Y, X) have the same value; a few slabs are compared first, to be fast."""
    first = array.flat[0]
    return bool((array[:: max(1, len(array) // 4)] == first).all() and all((slab == first).all() for slab in array))
