"""DICOM slices as one volume: of a folder, of a zip, or of one file with several frames.

Which files belong together and where the slices lie is decided here, from each slice's own position: ITK takes slices
for stacked at right angles, which is wrong under gantry tilt, and does not notice missing ones.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..checks import SHEAR_LIMIT_DEGREES
from .choosing import choose, contents_of, name_of
from .intensities import outside_value, read_slices
from .regridding import regridded
from .series import Volume
from .stacks import Stack, check_stack

UNEVEN_NOTE = 0.01  # of the spacing
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_dicom(
    path: Path, series: str | None = None, modality: str = "CT"
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Read one volume of a folder and the folders in it, of a zip, or of a file with several frames.

    Args:
        path: Folder or file.
        series: UID or number of the series; ``:2`` after it names the second volume of one that holds several. None
            takes a stack of the modality, the largest.
        modality: Which series to prefer, as DICOM names it.

    Returns:
        Array (Z, Y, X) in HU (or what the modality has), slices sorted along their normal; affine (4, 4) from
        index (x, y, z) to RAS mm, sheared under a gantry tilt of up to 5 degrees; notes. Beyond that tilt, and where
        the slices' distances change, slices and affine are those of a regular grid to which they were resampled.

    Raises:
        ImageError: No DICOM images, no such series, slices missing or at the same position, or a file that is
            truncated.
    """
    contents = contents_of(path)
    volume, notes = choose(contents, series, modality)
    check_stack(str(path), name_of(volume.head), volume.stack)
    array, value_notes = read_slices(str(path), volume.stack.slices)
    if volume.copies:
        notes += (f"{volume.copies} identical copies of slices were left out.",)
    array, affine, grid_notes = _on_grid(str(path), array, volume)
    return array, LPS_TO_RAS @ affine, notes + value_notes + grid_notes


def has_own_grid(stack: Stack) -> bool:
    """Whether slices are read as they are; else they are resampled to a regular grid."""
    return not _is_tilted(stack) and stack.is_even


def _is_tilted(stack: Stack) -> bool:
    return stack.tilt_degrees > SHEAR_LIMIT_DEGREES


def _on_grid(source: str, array: np.ndarray, volume: Volume) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Array, affine to LPS mm, and notes."""
    stack = volume.stack
    uneven = stack.unevenness_mm
    tilted = _is_tilted(stack)
    if has_own_grid(stack):
        notes = ()
        if uneven > UNEVEN_NOTE * stack.distance_mm:
            notes = (
                f"Slices are up to {uneven:.2f} mm from even spacing ({stack.distance_mm:.2f} mm); even spacing was "
                "assumed.",
            )
        return array, _affine(stack), notes
    outside = outside_value(volume.head, float(array.min()))
    array, affine = regridded(source, array, stack, outside)
    causes = []
    if tilted:
        causes.append(f"the gantry was tilted by {stack.tilt_degrees:.1f} degrees")
    if not stack.is_even:
        causes.append(
            f"the distances of the {len(stack.slices)} slices go from {stack.gaps.min():.3g} to "
            f"{stack.gaps.max():.3g} mm, or they are shifted sideways, by up to {uneven:.2g} mm"
        )
    sizes = "x".join(str(size) for size in array.shape[::-1])
    spacing = " x ".join(f"{value:.4g}" for value in np.linalg.norm(affine[:3, :3], axis=0))
    note = (
        f"Resampled with the true position of every slice, since {' and '.join(causes)}: to a regular grid of {sizes} "
        f"voxels of {spacing} mm. Labels are given on that grid."
    )
    return array, affine, (note,)


def _affine(stack: Stack) -> np.ndarray:
    head = stack.slices[0].place
    affine = np.eye(4)
    # DICOM gives the distance of rows first: that is y
    affine[:3, 0] = head.directions[0] * head.spacing[1]
    affine[:3, 1] = head.directions[1] * head.spacing[0]
    affine[:3, 2], affine[:3, 3] = stack.step, stack.positions[0]
    return affine
