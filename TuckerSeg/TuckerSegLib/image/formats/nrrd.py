"""NRRD headers (.nrrd, .nhdr), by the format's definition at teem.sourceforge.net/nrrd/format.html.

Read here and not through ITK, because ITK takes truncated data without complaint. Coordinates follow ITK where the
header leaves them open: no space means left-posterior-superior.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...errors import ImageError
from ..geometry import Geometry
from ..labels import Segment
from ..stored import StoredVolume
from .seg_nrrd import segmentation_keys
from .text import HEADER_LIMIT, RAS_TO_LPS, joined, one_line

TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
# Signs that take the axes of a space to right-anterior-superior
SPACES = {
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
}
TIME_SUFFIX = "-time"
RAW, GZIP = ("raw",), ("gzip", "gz")


def read_nrrd_header(path: Path) -> StoredVolume:
    """Read what an NRRD file says about its voxels.

    Raises:
        ImageError: Not an NRRD file, or a kind that is not read; the message says which.
    """
    fields, header_bytes = _fields(path)
    missing = [key for key in ("type", "dimension", "sizes", "encoding") if key not in fields]
    if missing:
        raise ImageError(f"{path}: its NRRD header has no {' and no '.join(missing)}.")
    try:
        return _described(path, fields, header_bytes)
    except ValueError as error:
        raise ImageError(f"{path}: its NRRD header is damaged ({error}).") from error


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Fields of the header by lower-case name, and its length in bytes with the empty line after it."""
    with path.open("rb") as file:
        head = file.read(HEADER_LIMIT)
    if not head.startswith(b"NRRD000"):
        raise ImageError(f"{path}: not an NRRD file (it does not begin with 'NRRD').")
    end = re.search(rb"\r?\n\r?\n", head)
    text = head[: end.start() if end else len(head)].decode("utf-8", errors="replace")
    pairs = re.findall(r"^([^#:\r\n][^:\r\n]*): +(.*?)\s*$", text, re.MULTILINE)
    return {name.strip().lower(): value for name, value in pairs}, end.end() if end else len(head)


def _described(path: Path, fields: dict[str, str], header_bytes: int) -> StoredVolume:
    sizes = [int(size) for size in fields["sizes"].split()]
    spatial = _spatial_axes(path, fields, len(sizes))
    first, last = spatial[0], spatial[-1]
    if math.prod(sizes[:first]) != 1:
        raise ImageError(
            f"{path}: holds {math.prod(sizes[:first])} values per voxel (RGB or vectors), not one. Give the CT itself."
        )
    encoding = fields["encoding"].lower()
    if encoding not in RAW + GZIP:
        raise ImageError(f"{path}: its NRRD encoding '{encoding}' is not read; save it as raw or gzip.")
    dtype = _voxel_type(path, fields)
    detached = fields.get("data file") or fields.get("datafile")
    data_path = path if detached is None else path.parent / detached
    if detached and not data_path.is_file():
        raise ImageError(
            f"{path}: its voxels should be in one file '{detached}', and {data_path} is not there. "
            "Keep both files together, or save the image as one .nrrd."
        )
    offset = 0 if detached else header_bytes
    skip = int(fields.get("byte skip", fields.get("byteskip", "0")))
    if int(fields.get("line skip", fields.get("lineskip", "0"))):
        raise ImageError(f"{path}: an NRRD file with a line skip is not read; save it as one .nrrd.")
    if skip < 0:  # by the format: the voxels are the last bytes of the file
        offset, skip = data_path.stat().st_size - math.prod(sizes) * dtype.itemsize, 0
    return StoredVolume(
        path=path,
        data_path=data_path,
        offset=offset,
        skip=skip,
        compressed=encoding in GZIP,
        dtype=dtype,
        shape=tuple(sizes[axis] for axis in reversed(spatial)),
        timepoints=math.prod(sizes[last + 1 :]),
        affine=_affine(path, fields, spatial),
    )


def _spatial_axes(path: Path, fields: dict[str, str], dimension: int) -> list[int]:
    """The three axes, fastest first, that lie in space: the others hold components (before) or time (after)."""
    if "space directions" in fields:
        vectors = _vectors(fields["space directions"])
        spatial = [axis for axis, vector in enumerate(vectors) if vector is not None]
    elif "kinds" in fields:
        kinds = fields["kinds"].lower().split()
        spatial = [axis for axis, kind in enumerate(kinds) if kind in ("domain", "space")]
        spatial = spatial if len(spatial) >= 3 else list(range(dimension))
    else:
        spatial = list(range(dimension))
    spatial = spatial[:3]
    if len(spatial) != 3 or spatial != list(range(spatial[0], spatial[0] + 3)) or spatial[-1] >= dimension:
        raise ImageError(f"{path}: a volume with 3 spatial axes is needed; this NRRD file has {dimension} axes.")
    return spatial


def _vectors(text: str) -> list[np.ndarray | None]:
    """Vectors such as ``(1,0,0) none (0,1,0)``; none for an axis that does not lie in space."""
    found = re.findall(r"none|\(([^)]*)\)", text)
    return [np.array([float(number) for number in part.split(",")]) if part else None for part in found]


def _voxel_type(path: Path, fields: dict[str, str]) -> np.dtype:
    name = fields["type"].lower()
    code = next((code for code, names in TYPES.items() if name in names), None)
    if code is None:
        raise ImageError(f"{path}: its NRRD type '{name}' is not one number per voxel.")
    order = ">" if fields.get("endian", "little").lower() == "big" else "<"
    return np.dtype(order + code)


def _affine(path: Path, fields: dict[str, str], spatial: list[int]) -> np.ndarray:
    affine = np.eye(4)
    space = fields.get("space", "left-posterior-superior").lower().removesuffix(TIME_SUFFIX)
    if space not in SPACES:
        raise ImageError(f"{path}: its NRRD space '{space}' is not a patient's; known: {', '.join(SPACES)}.")
    if "space directions" in fields:
        vectors = _vectors(fields["space directions"])
        affine[:3, :3] = np.stack([vectors[axis][:3] for axis in spatial], axis=1)
    elif "spacings" in fields:
        spacings = [float(number) for number in fields["spacings"].split()]
        affine[:3, :3] = np.diag([spacings[axis] for axis in spatial])
        if any(spacings[axis] <= 0 for axis in spatial):
            raise ImageError(f"{path}: spacings must be positive; found {fields['spacings']}. Correct the header.")
    if "space origin" in fields:
        affine[:3, 3] = _vectors(fields["space origin"])[0][:3]
    return np.diag([*SPACES[space], 1.0]) @ affine


NRRD_TYPES = {"uint8": "uint8", "uint16": "uint16"}


def nrrd_header(dtype: np.dtype, geometry: Geometry, description: str, segments: Sequence[Segment] | None) -> bytes:
    """An NRRD header for gzip-compressed voxels in the same file.

    Args:
        dtype: uint8 or uint16.
        geometry: The grid.
        description: Goes into a comment.
        segments: With them (even none), the file is a segmentation for 3D Slicer.
    """
    matrix = RAS_TO_LPS @ geometry.matrix
    lines = [
        "NRRD0004",
        *([f"# {one_line(description)}"] if description else []),
        f"type: {NRRD_TYPES[dtype.name]}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(str(size) for size in geometry.shape[::-1])}",
        f"space directions: {' '.join(f'({joined(column, chr(44))})' for column in matrix[:3, :3].T)}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: ({joined(matrix[:3, 3], chr(44))})",
    ]
    if segments is not None:
        lines += segmentation_keys(geometry, segments)
    return ("\n".join(lines) + "\n\n").encode("utf-8")
