"""The block of fields at the beginning of a NIfTI file, and the quaternion of its qform.

Fields, types and formulas are those of ``nifti1.h`` and ``nifti2.h`` of the NIfTI standard. What the fields of a file
say is checked in ``nifti.py``. nibabel, which gives the same (tested field by field and bit by bit), is not used,
since it imports pydicom and readers of many formats, which takes a quarter of a second of processor time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

SIZES = {1: 348, 2: 540}  # NIfTI's version to the bytes of its header, which are its own first number
_AXES = (8,)
_ROWS = [("srow_x", "f", (4,)), ("srow_y", "f", (4,)), ("srow_z", "f", (4,))]
_POSITION = [(f"quatern_{part}", "f") for part in "bcd"] + [(f"qoffset_{axis}", "f") for axis in "xyz"] + _ROWS
_INTENT = [("intent_p1", "f"), ("intent_p2", "f"), ("intent_p3", "f")]
_SHOWN = [("cal_max", "f"), ("cal_min", "f"), ("slice_duration", "f"), ("toffset", "f")]
_TEXTS = [("descrip", "S80"), ("aux_file", "S24")]
# "f" and "n" stand for the version's numbers: single precision and 16 bits, or double and 64 bits.
_FIELDS = {
    1: [("sizeof_hdr", "i4"), ("data_type", "S10"), ("db_name", "S18"), ("extents", "i4"), ("session_error", "i2"),
        ("regular", "S1"), ("dim_info", "u1"), ("dim", "n", _AXES), *_INTENT, ("intent_code", "i2"),
        ("datatype", "i2"), ("bitpix", "i2"), ("slice_start", "n"), ("pixdim", "f", _AXES), ("vox_offset", "f"),
        ("scl_slope", "f"), ("scl_inter", "f"), ("slice_end", "n"), ("slice_code", "u1"), ("xyzt_units", "u1"),
        *_SHOWN, ("glmax", "i4"), ("glmin", "i4"), *_TEXTS, ("qform_code", "i2"), ("sform_code", "i2"),
        *_POSITION, ("intent_name", "S16"), ("magic", "S4")],
    2: [("sizeof_hdr", "i4"), ("magic", "S4"), ("eol_check", "i1", (4,)), ("datatype", "i2"), ("bitpix", "i2"),
        ("dim", "n", _AXES), *_INTENT, ("pixdim", "f", _AXES), ("vox_offset", "n"), ("scl_slope", "f"),
        ("scl_inter", "f"), *_SHOWN, ("slice_start", "n"), ("slice_end", "n"), *_TEXTS, ("qform_code", "i4"),
        ("sform_code", "i4"), *_POSITION, ("slice_code", "i4"), ("xyzt_units", "i4"), ("intent_code", "i4"),
        ("intent_name", "S16"), ("dim_info", "u1"), ("unused_str", "S15")],
}  # fmt: skip
_NUMBERS = {1: {"f": "f4", "n": "i2"}, 2: {"f": "f8", "n": "i8"}}
# How far from 1 the squares of a quaternion's b, c and d may add up to for its a to count as 0: rounding of the type.
_ROUNDING = {1: 3 * np.finfo(np.float32).eps, 2: 3 * np.finfo(np.float64).eps}


class NiftiHeader:
    """The fields of a header by their names in the standard, as ``header["dim"]``; to be read and written.

    Args:
        version: 1 or 2.
        endianness: ``<`` or ``>``.
        data: The header's bytes; None makes an empty one of no axes.

    Attributes:
        version, endianness: As given.
    """

    def __init__(self, version: int, endianness: str = "<", data: bytes | None = None):
        self.version, self.endianness = version, endianness
        fields = [(name, _NUMBERS[version].get(kind, kind), *size) for name, kind, *size in _FIELDS[version]]
        kind = np.dtype(fields).newbyteorder(endianness)
        self._fields = np.frombuffer(bytearray(kind.itemsize if data is None else data), kind, 1).reshape(())
        if data is None:
            self["sizeof_hdr"] = SIZES[version]
            self["dim"][1:] = 1
            self["pixdim"][:] = 1

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._fields[name] = value

    def __bytes__(self) -> bytes:
        return self._fields.tobytes()

    def copy(self) -> NiftiHeader:
        """Another header that says the same."""
        return NiftiHeader(self.version, self.endianness, bytes(self))


def spacing_affine(header: NiftiHeader) -> np.ndarray:
    """Where voxels lie by their number and spacing alone: around the origin, x to the left.

    Returns:
        (4, 4) float64, voxel index (x, y, z) to mm.
    """
    spacing = header["pixdim"][1:4] * np.array([-1, 1, 1], header["pixdim"].dtype)
    affine = np.diag([*spacing.astype(np.float64), 1.0])
    affine[:3, 3] = -((header["dim"][1:4] - 1) / 2.0) * spacing
    return affine


def qform_affine(header: NiftiHeader) -> np.ndarray:
    """Where voxels lie by the header's quaternion, offsets and positive spacing; pixdim[0] is 1 or -1.

    Returns:
        (4, 4) float64, voxel index (x, y, z) to mm.

    Raises:
        ValueError: The quaternion's b, c and d are too large for one of length 1.
    """
    b, c, d = (np.longdouble(header[f"quatern_{part}"]) for part in "bcd")
    rest = 1 - (b * b + c * c + d * d)
    if abs(rest) < _ROUNDING[header.version]:
        rest = np.longdouble(0)
    if rest < 0:
        raise ValueError(f"the squares of the quaternion's b, c and d add up to {1 - rest}")
    scale = header["pixdim"][1:4].astype(np.longdouble)
    scale[2] *= header["pixdim"][0]
    affine = np.eye(4)
    affine[:3, :3] = _rotation(np.sqrt(rest), b, c, d) * scale
    affine[:3, 3] = [header[f"qoffset_{axis}"] for axis in "xyz"]
    return affine


def _rotation(a: np.floating, b: np.floating, c: np.floating, d: np.floating) -> np.ndarray:
    """The rotation matrix (3, 3) of a quaternion a + bi + cj + dk, which need not be quite of length 1."""
    double = 2 / (a * a + b * b + c * c + d * d)
    twice_b, twice_c, twice_d = b * double, c * double, d * double
    ab, ac, ad, bb, bc = a * twice_b, a * twice_c, a * twice_d, b * twice_b, b * twice_c
    bd, cc, cd, dd = b * twice_d, c * twice_c, c * twice_d, d * twice_d
    return np.array(
        [[1 - (cc + dd), bc - ad, bd + ac], [bc + ad, 1 - (bb + dd), cd - ab], [bd - ac, cd + ab, 1 - (bb + cc)]]
    )


def set_qform(header: NiftiHeader, affine: np.ndarray, code: int) -> None:
    """Write quaternion, offsets and spacing of the rotation next to an affine (4, 4), which loses its shears."""
    columns = affine[:3, :3]
    spacing = np.sqrt(np.sum(columns * columns, axis=0))
    directions = columns / spacing
    handedness = 1 if np.linalg.det(directions) > 0 else -1
    directions[:, 2] *= handedness
    left, _, right = np.linalg.svd(directions)
    header["qform_code"] = code
    header["pixdim"][0] = handedness
    header["pixdim"][1:4] = spacing
    for part, value in zip("bcd", _quaternion(left @ right)[1:], strict=True):
        header[f"quatern_{part}"] = value
    for axis, value in zip("xyz", affine[:3, 3], strict=True):
        header[f"qoffset_{axis}"] = value


def _quaternion(rotation: np.ndarray) -> np.ndarray:
    """The quaternion (a, b, c, d) of a rotation matrix (3, 3), with a of at least 0.

    It is the eigenvector of the largest eigenvalue of a symmetric matrix, so that rounding in the rotation does little:
    Bar-Itzhack 2000, "New method for extracting the quaternion from a rotation matrix", J. Guid. Control Dyn. 23(6).
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    lower = np.zeros((4, 4))  # eigh looks at this half alone
    lower[0, 0] = xx - yy - zz
    lower[1, :2] = xy + yx, yy - xx - zz
    lower[2, :3] = xz + zx, yz + zy, zz - xx - yy
    lower[3] = zy - yz, xz - zx, yx - xy, xx + yy + zz
    values, vectors = np.linalg.eigh(lower / 3)
    b, c, d, a = vectors[:, np.argmax(values)]
    return np.array([a, b, c, d]) * (-1 if a < 0 else 1)
