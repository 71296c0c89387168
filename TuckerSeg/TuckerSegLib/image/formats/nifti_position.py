"""Where a NIfTI header puts its voxels, as nibabel: sform before qform before the header's spacing alone.

Source: nibabel 5.x ``nifti1.Nifti1Header``, and ``nifti1.h`` of the NIfTI standard; equality with nibabel and ITK is
tested, and where these two differ, a note says so or the file is refused.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import ImageError
from ..checks import SPACING_LIMITS_MM
from ..geometry import Geometry
from .header_fields import wrong_field
from .nifti_header import NiftiHeader, qform_affine, spacing_affine

CODES = range(6)  # NIFTI_XFORM_UNKNOWN to _TEMPLATE_OTHER
UNITS = {1: ("meters", 1000.0), 3: ("micrometers", 0.001)}  # xyzt_units: name, and mm; 2 is mm and 0 is unknown
SAME_SPACING = 0.001  # of it


def nifti_position(path: Path, header: NiftiHeader, shape: tuple[int, int, int]) -> tuple[np.ndarray, tuple[str, ...]]:
    """The affine of a NIfTI header.

    Args:
        path: For messages.
        header: Unchecked.
        shape: (Z, Y, X).

    Returns:
        (4, 4), voxel index (x, y, z) to RAS mm, and notes for the user.

    Raises:
        ImageError: A field that counts is damaged.
    """
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    notes = []
    if sform not in CODES:
        notes.append(f"The header's sform_code {sform} means nothing; it was taken for 0, no sform.")
    if sform in CODES and sform:
        affine = _sform(path, header)
        notes += _disagreements(path, header, affine, shape)
    elif qform not in CODES:
        raise wrong_field(path, "qform_code", f"0 to {CODES[-1]}", qform)
    elif qform:
        affine, qform_notes = _qform(path, header)
        notes += qform_notes
    else:
        _spacing(path, header)
        affine = spacing_affine(header)
        notes.append("The file stores no orientation; nibabel's default was assumed, left and right may be swapped.")
    factor, unit_notes = _millimeters(header, affine)
    affine[:3] *= factor
    return affine, (*notes, *unit_notes)


def _sform(path: Path, header: NiftiHeader) -> np.ndarray:
    affine = np.eye(4)
    for row, name in enumerate(("srow_x", "srow_y", "srow_z")):
        affine[row] = _finite(path, name, header[name])
    return affine


def _qform(path: Path, header: NiftiHeader) -> tuple[np.ndarray, tuple[str, ...]]:
    _spacing(path, header)
    for name in ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"):
        _finite(path, name, header[name])
    handedness = float(header["pixdim"][0])
    notes = ()
    if abs(handedness) != 1:
        if handedness < 0:
            raise wrong_field(path, "pixdim[0] (qfac)", "1 or -1", f"{handedness:g}")
        notes = (f"The header's pixdim[0] (qfac) is {handedness:g}; by the NIfTI standard it was taken for 1.",)
        header = header.copy()
        header["pixdim"][0] = 1
    try:
        return qform_affine(header), notes
    except ValueError as error:
        parts = [f"{float(header[name]):g}" for name in ("quatern_b", "quatern_c", "quatern_d")]
        raise wrong_field(path, "quatern_b, _c, _d", "squares with a sum of 1 at most", ", ".join(parts)) from error


def _spacing(path: Path, header: NiftiHeader) -> None:
    for axis in (1, 2, 3):
        value = float(header["pixdim"][axis])
        if not 0 < value < np.inf:
            raise wrong_field(path, f"pixdim[{axis}]", "a positive spacing in mm", f"{value:g}")


def _finite(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise wrong_field(
            path, name, "no NaN or infinite numbers", ", ".join(f"{value:g}" for value in np.ravel(values))
        )
    return values


def _disagreements(path: Path, header: NiftiHeader, affine: np.ndarray, shape: tuple[int, int, int]) -> list[str]:
    """What else the header says about the position, where that is not what its sform says."""

    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    spacing = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    with np.errstate(invalid="ignore"):
        agrees = np.abs(spacing - lengths) <= SAME_SPACING * lengths
    if not agrees.all():
        return [
            f"The header gives a spacing of {_listed(spacing)} (pixdim) and of {_listed(lengths)} (sform); the sform "
            "was taken, as nibabel does. 3D Slicer takes the other."
        ]
    if int(header["qform_code"]) not in CODES[1:]:
        return []
    try:
        other, _ = _qform(path, header)
    except ImageError:
        return []  # what is not needed may be damaged
    if Geometry(shape, affine).same_grid(Geometry(shape, other)):
        return []
    return [
        "The header's sform and qform put the voxels in different places; the sform was taken, as nibabel does. "
        "3D Slicer may take the other."
    ]


def _millimeters(header: NiftiHeader, affine: np.ndarray) -> tuple[float, tuple[str, ...]]:
    """Factor from the header's unit to mm; units that make no patient's scan of the spacing are not believed."""
    if int(header["xyzt_units"]) % 8 not in UNITS:
        return 1.0, ()
    name, factor = UNITS[int(header["xyzt_units"]) % 8]
    lengths = np.linalg.norm(affine[:3, :3], axis=0) * factor
    if SPACING_LIMITS_MM[0] <= lengths.min() and lengths.max() <= SPACING_LIMITS_MM[1]:
        return factor, (f"The file states its spacing in {name}; it was converted to {_listed(lengths)}.",)
    return 1.0, (f"The file states its spacing in {name}; that cannot be, and the numbers were taken as mm.",)


def _listed(lengths: np.ndarray) -> str:
    return f"{' x '.join(f'{length:.4g}' for length in lengths)} mm"
