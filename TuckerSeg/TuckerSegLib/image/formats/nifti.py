"""NIfTI-1 and NIfTI-2 headers (.nii, .nii.gz), read with nibabel: true affine, sform before qform."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ImageError
from ..geometry import Geometry
from ..stored import GZIP_MAGIC, StoredVolume, inflated

HEADER_BYTES = {348: 1, 540: 2}  # size of the header, its own first number, to NIfTI's version
UNITS = {1: "meters", 3: "micrometers"}  # xyzt_units; 2 is mm and 0 is unknown


def read_nifti_header(path: Path) -> StoredVolume:
    """Read what a NIfTI file says about its voxels.

    Raises:
        ImageError: Not a NIfTI file, damaged, or a kind of image that is not segmented.
    """
    with path.open("rb") as file:
        compressed = file.read(2) == GZIP_MAGIC
    header = _parsed(path, _beginning(path, compressed))
    sizes = [int(size) for size in header["dim"][1 : 1 + int(header["dim"][0])]]
    if len(sizes) < 3:
        raise ImageError(f"{path}: a volume with 3 dimensions is needed; this image has {len(sizes)}.")
    if any(size > 1 for size in sizes[4:]):
        raise ImageError(
            f"{path}: holds vectors (dimensions {'x'.join(map(str, sizes))}), not one value per voxel. "
            "Give a CT, or one file per channel."
        )
    dtype = _voxel_type(path, header)
    slope, intercept = (float(header[key]) for key in ("scl_slope", "scl_inter"))
    if not np.isfinite(slope) or slope == 0:
        slope, intercept = 1.0, 0.0  # as the NIfTI standard says: a slope of 0 means no scaling
    return StoredVolume(
        path=path,
        data_path=path,
        offset=0,
        skip=int(header["vox_offset"]),
        compressed=compressed,
        dtype=dtype,
        shape=(sizes[2], sizes[1], sizes[0]),
        timepoints=sizes[3] if len(sizes) > 3 else 1,
        affine=_affine(path, header),
        slope=slope,
        intercept=intercept if np.isfinite(intercept) else 0.0,
        notes=_notes(header),
    )


def _beginning(path: Path, compressed: bool) -> bytes:
    if not compressed:
        with path.open("rb") as file:
            return file.read(max(HEADER_BYTES))
    data = b""
    for piece in inflated(path):
        data += piece
        if len(data) >= max(HEADER_BYTES):
            break
    return data


def _parsed(path: Path, data: bytes) -> Any:
    """nibabel's header of either version; its own checks are left out, ours follow."""
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    size = next((size for size in HEADER_BYTES for order in ("<i4", ">i4") if data[:4] == _bytes(size, order)), 0)
    if not size or len(data) < size:
        raise ImageError(f"{path}: not a NIfTI file (its header is not one). Expected .nii or .nii.gz of a CT.")
    kind = Nifti1Header if HEADER_BYTES[size] == 1 else Nifti2Header
    header = kind(data[:size], check=False)
    if not bytes(header["magic"]).startswith(b"n+"):
        raise ImageError(f"{path}: not a single-file NIfTI. Convert it to .nii.gz.")
    if not 1 <= int(header["dim"][0]) <= 7 or any(header["dim"][1 : 1 + int(header["dim"][0])] < 0):
        raise ImageError(f"{path}: its NIfTI header is damaged (dimensions {header['dim'].tolist()}).")
    return header


def _bytes(size: int, order: str) -> bytes:
    return np.array(size, order).tobytes()


def _voxel_type(path: Path, header: Any) -> np.dtype:
    from nibabel.spatialimages import HeaderDataError

    try:
        dtype = header.get_data_dtype()
    except HeaderDataError as error:
        raise ImageError(f"{path}: unknown voxel type in its NIfTI header ({error}).") from error
    if dtype.kind not in "iuf":
        kind = "colors (RGB)" if dtype.fields else f"values of type {dtype}"
        raise ImageError(f"{path}: holds {kind}, not one intensity per voxel. Give the CT itself.")
    return dtype


def _affine(path: Path, header: Any) -> np.ndarray:
    from nibabel.spatialimages import HeaderDataError

    try:
        with np.errstate(invalid="ignore"):  # an infinite spacing is refused by name later
            return np.asarray(header.get_best_affine(), dtype=np.float64)
    except (HeaderDataError, ValueError) as error:
        raise ImageError(
            f"{path}: its position cannot be computed from the NIfTI header ({error}); a positive spacing and a "
            "unit quaternion are needed. Load and save it with 3D Slicer, or convert it from DICOM again."
        ) from error


def _notes(header: Any) -> tuple[str, ...]:
    notes = []
    if int(header["sform_code"]) <= 0 and int(header["qform_code"]) <= 0:
        notes.append("The file stores no orientation; nibabel's default was assumed, left and right may be swapped.")
    units = UNITS.get(int(header["xyzt_units"]) % 8)
    if units:
        notes.append(f"The file states its spacing in {units}; the numbers were taken as mm.")
    return tuple(notes)


NIFTI_LABELS = 1002  # NIFTI_INTENT_LABEL


SCANNER_COORDINATES = 1  # NIFTI_XFORM_SCANNER_ANAT


NIFTI_1_LARGEST = 32767  # sizes are 16 bit in NIfTI-1


def nifti_header(dtype: np.dtype, geometry: Geometry, description: str) -> bytes:
    """A NIfTI header up to the voxels; NIfTI-2 where an axis is too long for NIfTI-1. sform and qform are set."""
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    header: Any = (Nifti1Header if max(geometry.shape) <= NIFTI_1_LARGEST else Nifti2Header)(endianness="<")
    header.set_data_dtype(dtype)
    header.set_data_shape(geometry.shape[::-1])
    header.set_qform(geometry.matrix, SCANNER_COORDINATES, strip_shears=True)
    header.set_sform(geometry.matrix, SCANNER_COORDINATES)
    header.set_xyzt_units("mm")
    header["descrip"] = description.encode("utf-8")[:79]
    header.set_intent(NIFTI_LABELS, name="labels", allow_unknown=True)
    header["magic"] = header.single_magic
    header["vox_offset"] = header.single_vox_offset
    header["scl_slope"], header["scl_inter"] = 1, 0
    block = header.binaryblock
    return block + bytes(header.single_vox_offset - len(block))
