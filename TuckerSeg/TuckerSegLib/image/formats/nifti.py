"""NIfTI-1 and NIfTI-2 headers (.nii, .nii.gz, .hdr with .img): what they say about the voxels.

Where these lie: ``nifti_position``.

What is in the fields (``nifti_header``) is checked here. Where nibabel and ITK read a damaged field alike, that is what
it means, and a note says so; where they differ, the file is refused.
"""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

import numpy as np

from ...errors import ImageError
from ..geometry import Geometry
from ..stored import GZIP_MAGIC, StoredVolume, inflated
from .header_fields import shown, wrong_field
from .nifti_header import SIZES, NiftiHeader, qform_affine, set_qform
from .nifti_position import nifti_position

HEADER_BYTES = {size: version for version, size in SIZES.items()}
MAGICS = {1: b"n+1\0", 2: b"n+2\0"}  # of a single file
PAIR_MAGICS = {1: b"ni1\0", 2: b"ni2\0"}  # of a header whose voxels lie in another file
HEADER_ENDING, VOXELS_ENDING = re.compile(r"\.hdr(\.gz)?$", re.I), re.compile(r"\.img(\.gz)?$", re.I)
LINE_ENDS = ([13, 10, 26, 10], [0, 0, 0, 0])  # NIfTI-2's eol_check: other ones, and a text transfer changed the bytes
FIRST_VOXEL = {1: 352, 2: 544}  # header, and four bytes that tell of extensions
TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
CODES = {kind: code for code, kind in TYPES.items()}
NOT_INTENSITIES = {
    32: "values of type complex64",
    128: "colors (RGB)",
    1792: "values of type complex128",
    2048: "values of type complex256",
    2304: "colors (RGBA)",
}
# Below the first, ITK does not scale; beyond the second, no intensity fits into float32
SCALE_LIMITS = (float(np.finfo(np.float64).eps), 1e15)


def read_nifti_header(path: Path) -> StoredVolume:
    """Read what a NIfTI file says about its voxels.

    Args:
        path: The file, or either one of a pair.

    Raises:
        ImageError: Not a NIfTI file, damaged, or a kind of image that is not segmented.
    """
    path, data_path = _pair(path)
    header, version = _parsed(path, _beginning(path, _is_compressed(path)), path != data_path)
    sizes = _sizes(path, header)
    dtype, type_notes = _voxel_type(path, header)
    slope, intercept, scale_notes = _scaling(path, header)
    affine, position_notes = nifti_position(path, header, (sizes[2], sizes[1], sizes[0]))
    return StoredVolume(
        path=path,
        data_path=data_path,
        offset=0,
        skip=_first_voxel(path, header, 0 if path != data_path else FIRST_VOXEL[version]),
        compressed=_is_compressed(data_path),
        dtype=dtype,
        shape=(sizes[2], sizes[1], sizes[0]),
        timepoints=sizes[3] if len(sizes) > 3 else 1,
        affine=affine,
        slope=slope,
        intercept=intercept,
        notes=position_notes + type_notes + scale_notes,
    )


def _pair(path: Path) -> tuple[Path, Path]:
    """The files of the header and of the voxels, which are the same but for a pair.

    Raises:
        ImageError: The other one of a pair is not there.
    """
    for ending, other in ((HEADER_ENDING, VOXELS_ENDING), (VOXELS_ENDING, HEADER_ENDING)):
        if ending.search(path.name):
            stem = ending.sub("", path.name)
            beside = [each for each in path.parent.glob(f"{glob.escape(stem)}.*") if other.search(each.name)]
            beside = [each for each in beside if other.sub("", each.name) == stem and os.path.isfile(each)]
            if not beside:
                raise ImageError(
                    f"{path}: one of two files, and {stem}{'.img' if ending is HEADER_ENDING else '.hdr'} is not "
                    "beside it. Keep both together, or convert them to .nii.gz."
                )
            return (path, min(beside)) if ending is HEADER_ENDING else (min(beside), path)
    return path, path


def _is_compressed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == GZIP_MAGIC


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


def _parsed(path: Path, data: bytes, is_pair: bool) -> tuple[NiftiHeader, int]:
    """The header, and NIfTI's version."""
    sizes_and_orders = {
        np.array(size, f"{order}i4").tobytes(): (size, order) for size in HEADER_BYTES for order in "<>"
    }
    size, order = sizes_and_orders.get(data[:4], (0, "<"))
    if not size or len(data) < size:
        raise ImageError(f"{path}: not a NIfTI file (its header is not one). Expected .nii or .nii.gz of a CT.")
    version = HEADER_BYTES[size]
    header = NiftiHeader(version, order, data[:size])
    magic = (PAIR_MAGICS if is_pair else MAGICS)[version]
    if is_pair and not any(bytes(header["magic"])):
        raise ImageError(
            f"{path}: an Analyze 7.5 header, which does not tell left from right; expected NIfTI, with the magic "
            f"{magic!a}. Convert it to .nii.gz with a program that knows where it comes from."
        )
    if bytes(header["magic"]) != magic:
        raise ImageError(
            f"{path}: not a {'pair of files in' if is_pair else 'single-file'} NIfTI-{version}; its magic should be "
            f"{magic!a}, found {bytes(header['magic'])!a}. Convert it to .nii.gz."
        )
    if version == 2 and header["eol_check"].tolist() not in LINE_ENDS:
        raise wrong_field(path, "eol_check", str(LINE_ENDS[0]), header["eol_check"].tolist())
    return header, version


def _sizes(path: Path, header: NiftiHeader) -> list[int]:
    """Numbers of voxels along x, y, z, and of time points where there is such an axis; 0 is told of later."""
    count, *sizes = [int(size) for size in header["dim"]]
    if not 1 <= count <= 7:
        raise wrong_field(path, "dim[0]", "3 to 7 dimensions", count)
    sizes = sizes[:count]
    if count < 3:
        raise ImageError(f"{path}: a volume with 3 dimensions is needed; this image has {count}.")
    if min(sizes) < 0:
        raise wrong_field(path, "dim", "no negative number", [count, *sizes])
    if any(size > 1 for size in sizes[4:]):
        raise ImageError(
            f"{path}: holds vectors (dimensions {'x'.join(map(str, sizes))}), not one value per voxel. "
            "Give a CT, or one file per channel."
        )
    return sizes


def _first_voxel(path: Path, header: NiftiHeader, least: int) -> int:
    """Where the voxels begin. Where a single file says 0, nibabel begins at the header and ITK four bytes too early."""
    offset = float(header["vox_offset"])
    if not np.isfinite(offset) or offset != int(offset) or offset < least:
        raise wrong_field(path, "vox_offset", f"a whole number of bytes, {least} or more", f"{offset:g}")
    return int(header["vox_offset"])


def _voxel_type(path: Path, header: NiftiHeader) -> tuple[np.dtype, tuple[str, ...]]:
    code, bits = int(header["datatype"]), int(header["bitpix"])
    if code in NOT_INTENSITIES:
        raise ImageError(f"{path}: holds {NOT_INTENSITIES[code]}, not one intensity per voxel. Give the CT itself.")
    if code not in TYPES:
        raise wrong_field(path, "datatype", f"the code of a voxel type ({', '.join(map(str, TYPES))})", code)
    dtype = np.dtype(header.endianness + TYPES[code])
    if bits == dtype.itemsize * 8:
        return dtype, ()
    return dtype, (
        f"The header says {bits} bits per voxel (bitpix) and a type of {dtype.itemsize * 8}; the type counts.",
    )


def _scaling(path: Path, header: NiftiHeader) -> tuple[float, float, tuple[str, ...]]:
    """Slope, intercept and notes. By the standard, a slope of 0 means no scaling; nibabel writes NaN for it."""
    slope, intercept = (float(header[key]) for key in ("scl_slope", "scl_inter"))
    if slope == 0 or not np.isfinite(slope):
        if not np.isinf(slope) and (intercept == 0 or np.isnan(intercept)):
            return 1.0, 0.0, ()
        return (
            1.0,
            0.0,
            (
                f"The header's scl_slope is {slope:g} and scl_inter {intercept:g}; by the NIfTI standard the values "
                "were taken as they are stored.",
            ),
        )
    if not SCALE_LIMITS[0] <= abs(slope) <= SCALE_LIMITS[1]:
        raise wrong_field(
            path, "scl_slope", f"0, or a size of {SCALE_LIMITS[0]:.1g} to {SCALE_LIMITS[1]:g}", f"{slope:g}"
        )
    if not abs(intercept) <= SCALE_LIMITS[1]:
        raise wrong_field(path, "scl_inter", f"a size of {SCALE_LIMITS[1]:g} at most", shown(f"{intercept:g}"))
    return slope, intercept, ()


NIFTI_LABELS = 1002  # NIFTI_INTENT_LABEL


SCANNER_COORDINATES = 1  # NIFTI_XFORM_SCANNER_ANAT


MILLIMETERS = 2  # NIFTI_UNITS_MM


NIFTI_1_LARGEST = 32767  # sizes are 16 bit in NIfTI-1


def holds_grid(geometry: Geometry) -> bool:
    """Whether all programs place a grid in NIfTI alike: ITK takes the qform where the sform is sheared."""
    header = NiftiHeader(1)
    set_qform(header, geometry.matrix, SCANNER_COORDINATES)
    return geometry.same_grid(Geometry(geometry.shape, qform_affine(header)))


def nifti_header(dtype: np.dtype, geometry: Geometry, description: str) -> bytes:
    """A NIfTI header up to the voxels; NIfTI-2 where an axis is too long for NIfTI-1. sform and qform are set."""
    version = 1 if max(geometry.shape) <= NIFTI_1_LARGEST else 2
    header = NiftiHeader(version)
    header["datatype"] = CODES[np.dtype(dtype).str[1:]]
    header["bitpix"] = 8 * np.dtype(dtype).itemsize
    header["dim"][:4] = 3, *geometry.shape[::-1]
    set_qform(header, geometry.matrix, SCANNER_COORDINATES)
    header["sform_code"] = SCANNER_COORDINATES
    header["srow_x"], header["srow_y"], header["srow_z"] = geometry.matrix[:3]
    header["xyzt_units"] = MILLIMETERS
    header["descrip"] = description.encode("utf-8", "backslashreplace")[:79]
    header["intent_code"], header["intent_name"] = NIFTI_LABELS, b"labels"
    header["magic"] = MAGICS[version]
    header["vox_offset"] = FIRST_VOXEL[version]
    header["scl_slope"], header["scl_inter"] = 1, 0
    if version == 2:
        header["eol_check"] = LINE_ENDS[0]
    block = bytes(header)
    return block + bytes(FIRST_VOXEL[version] - len(block))
