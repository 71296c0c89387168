"""NRRD headers (.nrrd, .nhdr), by the format's definition at teem.sourceforge.net/nrrd/format.html.

Read here and not through ITK, because ITK takes truncated data without complaint. Coordinates follow ITK where the
header leaves them open: no space means left-posterior-superior.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...errors import ImageError
from ..geometry import Geometry
from ..labels import Segment
from ..stored import StoredVolume, read_stored
from .header_fields import HeaderFields, finite_number, shown
from .seg_nrrd import segmentation_keys
from .text import RAS_TO_LPS, joined, nrrd_text, one_line
from .units import in_millimeters

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
NEEDED = ("type", "dimension", "sizes", "encoding")
UNDERSTOOD = (*NEEDED, "endian", "kinds", "space", "space directions", "space origin", "space units", "spacings")
UNDERSTOOD += ("data file", "byte skip", "line skip")
# Known to the format, and without a say in what is read; a name that is in neither list is a damaged one
OTHER_FIELDS = (
    "content",
    "number",
    "block size",
    "space dimension",
    "thicknesses",
    "axis mins",
    "axis maxs",
    "centers",
)
OTHER_FIELDS += (
    "centerings",
    "labels",
    "units",
    "min",
    "max",
    "old min",
    "old max",
    "sample units",
    "measurement frame",
)
FIELD_NAMES = {name.replace(" ", ""): name for name in UNDERSTOOD + OTHER_FIELDS}  # both spellings are allowed
SPATIAL_KINDS = ("domain", "space", "none", "???")
MOST_AXES = 16
RAW, GZIP = ("raw",), ("gzip", "gz")
_VECTOR = re.compile(r"none|\(([^()]*)\)")


def read_nrrd_header(path: Path) -> StoredVolume:
    """Read what an NRRD file says about its voxels.

    Raises:
        ImageError: Not an NRRD file, damaged, or a kind that is not read; the message says which.
    """
    stored, values_per_voxel = _stored(path)
    if values_per_voxel != 1:
        raise ImageError(
            f"{path}: holds {values_per_voxel} values per voxel (RGB or vectors), not one. Give the CT itself."
        )
    return stored


def read_nrrd_layers(path: Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Read a file with several values per voxel, as the layers of a segmentation.

    Returns:
        (layers, Z, Y, X) of the file's type; the affine, voxel index (x, y, z) to RAS mm; and notes for the user.

    Raises:
        ImageError: As :func:`read_nrrd_header`, or the voxels are damaged.
    """
    stored, layers = _stored(path)
    depth, height, width = stored.shape
    array, notes = read_stored(replace(stored, shape=(depth, height, width * layers)), 0)
    return np.moveaxis(array.reshape(depth, height, width, layers), 3, 0), stored.affine, stored.notes + notes


def _stored(path: Path) -> tuple[StoredVolume, int]:
    """What the header says of the volume, and the number of values per voxel."""
    fields, header_bytes = _fields(path)
    fields.require(*NEEDED)
    sizes = fields.sizes("sizes", fields.whole("dimension", 0, 1, MOST_AXES))
    if len(sizes) < 3:
        raise ImageError(f"{path}: a volume with 3 spatial axes is needed; this NRRD file has {len(sizes)} axes.")
    spatial = _spatial_axes(fields, len(sizes))
    first, last = spatial[0], spatial[-1]
    encoding = fields.values["encoding"].lower()
    if encoding not in RAW + GZIP:
        raise ImageError(f"{path}: its NRRD encoding {shown(encoding)} is not read; save it as raw or gzip.")
    dtype = _voxel_type(fields)
    if header_bytes is None and "data file" not in fields:
        raise ImageError(f"{path}: truncated or damaged; its header does not end. Copy or download the file again.")
    data_path, offset = (fields.file_beside("data file"), 0) if "data file" in fields else (path, header_bytes)
    if fields.whole("line skip", 0, 0):
        raise ImageError(f"{path}: an NRRD file with a line skip is not read; save it as one .nrrd.")
    skip = fields.whole("byte skip", 0, 0 if encoding in GZIP else -1)
    if skip < 0:  # by the format: the voxels are the last bytes of the file
        offset, skip = max(offset, data_path.stat().st_size - math.prod(sizes) * dtype.itemsize), 0
    affine, notes = _affine(fields, spatial, len(sizes))
    stored = StoredVolume(
        path=path,
        data_path=data_path,
        offset=offset,
        skip=skip,
        compressed=encoding in GZIP,
        dtype=dtype,
        shape=tuple(sizes[axis] for axis in reversed(spatial)),
        timepoints=math.prod(sizes[last + 1 :]),
        affine=affine,
        notes=notes,
    )
    return stored, math.prod(sizes[:first])


def _fields(path: Path) -> tuple[HeaderFields, int | None]:
    """Fields of the header by the format's name of each, and what ``nrrd_text`` says of its length."""
    text, header_bytes = nrrd_text(path)
    values: dict[str, str] = {}
    for line in text.split("\n")[1:]:
        name, colon, value = line.strip("\r").partition(":")
        if line.startswith("#") or not line.strip() or value.startswith("="):
            continue  # a comment, or a key of somebody's own
        name = FIELD_NAMES.get(name.lower().replace(" ", ""))
        if not colon or name is None:
            raise ImageError(
                f"{path}: damaged NRRD header, expected lines such as 'sizes: 512 512 300', found {shown(line)}. "
                "Copy the file again, or export the image again."
            )
        if name in values:
            raise ImageError(f"{path}: its NRRD header has {shown(name)} twice. Remove the wrong line.")
        values[name] = value.strip()
    return HeaderFields(path, values), header_bytes


def _spatial_axes(fields: HeaderFields, dimension: int) -> list[int]:
    """The three axes, fastest first, that lie in space: the others hold components (before) or time (after)."""
    kinds = fields.values["kinds"].lower().split() if "kinds" in fields else ["???"] * dimension
    if len(kinds) != dimension:
        raise fields.wrong("kinds", f"{dimension} words")
    if "space directions" in fields:
        vectors = _vectors(fields, "space directions", dimension)
        spatial = [axis for axis, vector in enumerate(vectors) if vector is not None]
    else:
        spatial = [axis for axis, kind in enumerate(kinds) if kind in ("domain", "space")]
        spatial = spatial if len(spatial) >= 3 else list(range(dimension))
    spatial = spatial[:3]
    if len(spatial) != 3 or spatial != list(range(spatial[0], spatial[0] + 3)):
        raise ImageError(
            f"{fields.path}: a volume with 3 spatial axes is needed; this NRRD file has {dimension} axes, "
            f"{len(spatial)} of them spatial."
        )
    if any(kinds[axis] not in SPATIAL_KINDS for axis in spatial):
        raise fields.wrong("kinds", "'domain' for each of the three axes in space")
    return spatial


def _vectors(fields: HeaderFields, name: str, count: int) -> list[np.ndarray | None]:
    """Vectors such as ``(1,0,0) none (0,1,0)``; none for an axis that does not lie in space."""
    text = fields.values[name]
    components = 4 if fields.values.get("space", "").lower().endswith(TIME_SUFFIX) else 3
    matches = list(_VECTOR.finditer(text))
    rest = _VECTOR.sub("", text).strip()
    vectors = [
        None if part[1] is None else [finite_number(number) for number in part[1].split(",")] for part in matches
    ]
    wrong = (vector is not None and (len(vector) != components or None in vector) for vector in vectors)
    if rest or len(vectors) != count or any(wrong):
        raise fields.wrong(name, f"{count} x {components} finite numbers, as (1,0,0)")
    return [None if vector is None else np.array(vector[:3]) for vector in vectors]


def _voxel_type(fields: HeaderFields) -> np.dtype:
    name = fields.values["type"].lower()
    code = next((code for code, names in TYPES.items() if name in names), None)
    if code is None:
        raise ImageError(f"{fields.path}: its NRRD type {shown(name)} is not one number per voxel.")
    if np.dtype(code).itemsize == 1:
        return np.dtype(code)
    fields.require("endian")
    order = fields.values["endian"].lower()
    if order not in ("little", "big"):
        raise fields.wrong("endian", "little or big")
    return np.dtype((">" if order == "big" else "<") + code)


def _affine(fields: HeaderFields, spatial: list[int], dimension: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Voxel index (x, y, z) to RAS mm, and notes."""
    affine, notes = np.eye(4), ()
    space = fields.values.get("space", "left-posterior-superior").lower().removesuffix(TIME_SUFFIX)
    if space not in SPACES:
        raise fields.wrong("space", f"a patient's ({', '.join(SPACES)})")
    if "space directions" in fields:
        vectors = _vectors(fields, "space directions", dimension)
        affine[:3, :3] = np.stack([vectors[axis] for axis in spatial], axis=1)
        if "spacings" in fields and _spacings(fields, spatial, dimension) is not None:
            raise fields.wrong("spacings", "none beside space directions, or nan")
    elif "spacings" in fields:
        spacings = _spacings(fields, spatial, dimension)
        if spacings is None:
            raise fields.wrong("spacings", "positive numbers")
        affine[:3, :3] = np.diag(spacings)
    else:
        notes = ("The file stores no spacing; 1 mm was assumed.",)
    if "space origin" in fields:
        (origin,) = _vectors(fields, "space origin", 1)
        if origin is None:
            raise fields.wrong("space origin", "a vector of finite numbers, as (0,0,0)")
        affine[:3, 3] = origin
    affine, unit_notes = in_millimeters(affine, _units(fields, spatial, dimension))
    return np.diag([*SPACES[space], 1.0]) @ affine, notes + unit_notes


def _units(fields: HeaderFields, spatial: list[int], dimension: int) -> list[str]:
    """The unit along each axis of space; empty where none is stated.

    The units of space go with its directions, those of the image's axes with their spacings, where there are no
    directions: each axis lies along one of space then.
    """
    name = "space units" if "space directions" in fields or "space units" in fields else "units"
    units = re.findall(r'"([^"]*)"', fields.values.get(name, ""))
    if name == "units":
        units = [units[axis] for axis in spatial] if len(units) == dimension else []
    return (units + [""] * 3)[:3]


def _spacings(fields: HeaderFields, spatial: list[int], dimension: int) -> list[float] | None:
    """Of the spatial axes; None where the header says that there are none (nan)."""
    parts = fields.values["spacings"].lower().split()
    numbers = [finite_number(parts[axis]) if len(parts) == dimension else None for axis in spatial]
    if len(parts) == dimension and all(parts[axis] == "nan" for axis in spatial):
        return None
    if any(number is None or number <= 0 for number in numbers):
        raise fields.wrong("spacings", f"{dimension} positive numbers")
    return numbers


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
    return ("\n".join(lines) + "\n\n").encode("utf-8", "backslashreplace")
