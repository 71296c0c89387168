"""MetaImage headers (.mha, .mhd), by itk.org/Wiki/ITK/MetaIO/Documentation.

Read here and not through ITK, because ITK takes truncated data without complaint. Coordinates are ITK's,
left-posterior-superior.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from ...errors import ImageError
from ..geometry import Geometry
from ..stored import StoredVolume
from .header_fields import HeaderFields, shown, whole_number
from .text import RAS_TO_LPS, joined, one_line
from .units import in_millimeters

TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
DATA_KEY = "ElementDataFile"  # always the last key of a header
LOCAL = "LOCAL"
LIST = "LIST"
MOST_FILES = 100_000
HEADER_LIMIT = 1 << 16
FEWEST_AXES, MOST_AXES = 3, 10
UNIT_LENGTH = 0.01  # how far the directions' lengths may be from 1
_PATTERN = re.compile(r"([^%/\\]*)%(0?[0-9]{0,2})d([^%/\\]*)")
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
SPACING, ORIGIN = ("ElementSpacing", "ElementSize"), ("Offset", "Position", "Origin")
DIRECTIONS, BYTE_ORDER = (
    ("TransformMatrix", "Rotation", "Orientation"),
    ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"),
)


def read_metaimage_header(path: Path) -> StoredVolume:
    """Read what a MetaImage file says about its voxels.

    Raises:
        ImageError: Not a MetaImage file, damaged, or a kind that is not read; the message says which.
    """
    fields, header_bytes = _fields(path)
    missing = [key for key in ("NDims", "DimSize", "ElementType", DATA_KEY) if key not in fields]
    if missing:
        raise ImageError(f"{path}: not a MetaImage file (its header has no {', no '.join(missing)}).")
    dimension = fields.whole("NDims", 0, 1, MOST_AXES)
    if dimension < FEWEST_AXES:
        raise ImageError(f"{path}: a volume with 3 dimensions is needed; this image has {dimension}.")
    sizes = fields.sizes("DimSize", dimension)
    channels = fields.whole("ElementNumberOfChannels", 1, 1)
    if channels != 1:
        raise ImageError(f"{path}: holds {channels} values per voxel (RGB or vectors), not one. Give the CT itself.")
    if not fields.flag("BinaryData", True):
        raise ImageError(f"{path}: its voxels are written as text, which is not read; save it as binary.")
    dtype = _voxel_type(fields)
    compressed = fields.flag("CompressedData", False)
    local = fields.values[DATA_KEY].upper() == LOCAL
    parts = _files_of_slices(fields, header_bytes, sizes)
    if parts and compressed:
        raise ImageError(f"{path}: its voxels are compressed in one file per slice, which is not read; save it as one.")
    data_path, offset = (path, header_bytes) if local else (parts[0] if parts else fields.file_beside(DATA_KEY), 0)
    start = fields.whole("HeaderSize", 0, 0 if compressed else -1)
    if start > 0 and local:
        raise fields.wrong("HeaderSize", "0 where the voxels follow the header")
    if start < 0:  # by the format: the voxels are the last bytes of the file
        start = max(0, data_path.stat().st_size - math.prod(sizes) * dtype.itemsize // (len(parts) or 1) - offset)
    affine, notes = _affine(fields, dimension)
    return StoredVolume(
        path=path,
        data_path=data_path,
        offset=offset + start,
        skip=0,
        compressed=compressed,
        dtype=dtype,
        shape=(sizes[2], sizes[1], sizes[0]),
        timepoints=math.prod(sizes[3:]),
        affine=affine,
        notes=notes,
        parts=parts,
    )


def _files_of_slices(fields: HeaderFields, header_bytes: int, sizes: tuple[int, ...]) -> tuple[Path, ...]:
    """The files of slices, or of volumes, that a header lists below itself or by a pattern; none where it has one file.

    A list is ``LIST`` or ``LIST n`` (axes of each file) and a name per line; a pattern is ``slice%03d.raw first last
    step``.
    """
    word, *numbers = fields.values[DATA_KEY].split() or [""]
    axes = len(sizes) - 1
    if word.upper() == LIST:
        axes = whole_number(numbers[0].removesuffix("D").removesuffix("d")) if numbers else axes
        with fields.path.open("rb") as file:
            file.seek(header_bytes)
            lines = file.read(HEADER_LIMIT * 16).decode("utf-8", errors="replace").splitlines()
        names = [line.strip() for line in lines if line.strip()]
    elif len(numbers) in (2, 3) and (match := _PATTERN.fullmatch(word)):
        first, last, step = ([whole_number(number) for number in numbers] + [1])[:3]
        if None in (first, last, step) or step < 1 or not 0 <= last - first < MOST_FILES * step:
            raise fields.wrong(DATA_KEY, "a pattern, the first number, the last one and a step, as slice%03d.raw 1 9 1")
        before, width, after = match.groups()
        names = [f"{before}{number:{width}d}{after}" for number in range(first, last + 1, step)]
    else:
        return ()
    if axes is None or not 2 <= axes < len(sizes):
        raise fields.wrong(DATA_KEY, f"LIST, with 2 to {len(sizes) - 1} axes of each file")
    wanted = math.prod(sizes[axes:])
    if len(names) != wanted or wanted > MOST_FILES:
        raise ImageError(
            f"{fields.path}: its header names {len(names)} files of voxels; expected {wanted}, one for every slice of "
            "DimSize. Correct the list, or save the image as one file."
        )
    return tuple(fields.named_file_beside(DATA_KEY, name) for name in names)


def _fields(path: Path) -> tuple[HeaderFields, int]:
    """Fields of the header, and its length in bytes."""
    values: dict[str, str] = {}
    with path.open("rb") as file:
        for line in iter(lambda: file.readline(HEADER_LIMIT), b""):
            name, equals, value = line.decode("utf-8", errors="replace").partition("=")
            name = name.strip()
            if not equals or file.tell() > HEADER_LIMIT:
                break
            if name in values:
                raise ImageError(f"{path}: its MetaImage header has {shown(name)} twice. Remove the wrong line.")
            values[name] = value.strip()
            if name == DATA_KEY:
                break
        return HeaderFields(path, values), file.tell()


def _voxel_type(fields: HeaderFields) -> np.dtype:
    name = fields.values["ElementType"]
    if name not in TYPES:
        raise ImageError(f"{fields.path}: its element type {shown(name)} is not one number per voxel.")
    orders = {fields.flag(key, False) for key in BYTE_ORDER if key in fields}
    if len(orders) > 1:
        raise fields.wrong(BYTE_ORDER[0], f"the same as {BYTE_ORDER[1]}")
    return np.dtype((">" if True in orders else "<") + TYPES[name])


def _numbers(fields: HeaderFields, keys: tuple[str, ...], count: int, positive: bool = False) -> np.ndarray | None:
    """The numbers under the one key that is there: MetaImage has several names for a thing."""
    present = [key for key in keys if key in fields]
    numbers = [fields.numbers(key, count, positive) for key in present]
    if len(set(numbers)) > 1 and keys != SPACING:  # of those two, the spacing counts
        raise fields.wrong(present[0], f"the same as {present[1]}")
    return np.array(numbers[0]) if numbers else None


def _affine(fields: HeaderFields, dimension: int) -> tuple[np.ndarray, tuple[str, ...]]:
    spacing = _numbers(fields, SPACING, dimension, positive=True)
    notes = () if spacing is not None else ("The file stores no spacing; 1 mm was assumed.",)
    spacing = np.ones(dimension) if spacing is None else spacing
    origin = _numbers(fields, ORIGIN, dimension)
    rows = _numbers(fields, DIRECTIONS, dimension * dimension)
    directions = np.eye(3)
    if rows is not None:
        directions = rows.reshape(dimension, dimension).T[:3, :3]  # stored axis by axis; a column here
        if (np.abs(np.linalg.norm(directions, axis=0) - 1) > UNIT_LENGTH).any():
            raise fields.wrong(next(key for key in DIRECTIONS if key in fields), "directions of length 1")
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing[:3]
    if origin is not None:
        affine[:3, 3] = origin[:3]
    affine, unit_notes = in_millimeters(affine, [fields.values.get("DistanceUnits", "mm")] * 3)
    return LPS_TO_RAS @ affine, notes + unit_notes


METAIMAGE_TYPES = {"uint8": "MET_UCHAR", "uint16": "MET_USHORT"}


def metaimage_header(dtype: np.dtype, geometry: Geometry, description: str, compressed_bytes: int) -> bytes:
    """A MetaImage header for compressed voxels in the same file."""
    matrix = RAS_TO_LPS @ geometry.matrix
    spacing = np.array(geometry.spacing_mm[::-1])
    lines = {
        "ObjectType": "Image",
        "NDims": "3",
        "Comment": one_line(description),
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "CompressedDataSize": str(compressed_bytes),
        "TransformMatrix": joined((matrix[:3, :3] / spacing).T.ravel()),
        "Offset": joined(matrix[:3, 3]),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": joined(spacing),
        "DimSize": " ".join(str(size) for size in geometry.shape[::-1]),
        "ElementType": METAIMAGE_TYPES[dtype.name],
        "ElementDataFile": "LOCAL",
    }
    return "".join(f"{key} = {value}\n" for key, value in lines.items() if value).encode("utf-8", "backslashreplace")
