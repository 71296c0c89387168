"""MetaImage headers (.mha, .mhd), by itk.org/Wiki/ITK/MetaIO/Documentation.

Read here and not through ITK, because ITK takes truncated data without complaint. Coordinates are ITK's,
left-posterior-superior.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import ImageError
from ..geometry import Geometry
from ..stored import StoredVolume
from .text import RAS_TO_LPS, joined, one_line

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
HEADER_LIMIT = 1 << 16
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_metaimage_header(path: Path) -> StoredVolume:
    """Read what a MetaImage file says about its voxels.

    Raises:
        ImageError: Not a MetaImage file, or a kind that is not read; the message says which.
    """
    fields, header_bytes = _fields(path)
    missing = [key for key in ("DimSize", "ElementType", DATA_KEY) if key not in fields]
    if missing:
        raise ImageError(f"{path}: not a MetaImage file (its header has no {', no '.join(missing)}).")
    try:
        return _described(path, fields, header_bytes)
    except ValueError as error:
        raise ImageError(f"{path}: its MetaImage header is damaged ({error}).") from error


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Fields of the header, and its length in bytes."""
    fields = {}
    with path.open("rb") as file:
        for line in iter(lambda: file.readline(HEADER_LIMIT), b""):
            name, equals, value = line.decode("latin-1").partition("=")
            if not equals or file.tell() > HEADER_LIMIT:
                break
            fields[name.strip()] = value.strip()
            if name.strip() == DATA_KEY:
                break
        return fields, file.tell()


def _described(path: Path, fields: dict[str, str], header_bytes: int) -> StoredVolume:
    sizes = [int(size) for size in fields["DimSize"].split()]
    if len(sizes) < 3:
        raise ImageError(f"{path}: a volume with 3 dimensions is needed; this image has {len(sizes)}.")
    channels = int(fields.get("ElementNumberOfChannels", "1"))
    if channels != 1:
        raise ImageError(f"{path}: holds {channels} values per voxel (RGB or vectors), not one. Give the CT itself.")
    if fields["ElementType"] not in TYPES:
        raise ImageError(f"{path}: its element type {fields['ElementType']} is not one number per voxel.")
    if not _true(fields, "BinaryData", default=True):
        raise ImageError(f"{path}: its voxels are written as text, which is not read; save it as binary.")
    big = _true(fields, "BinaryDataByteOrderMSB") or _true(fields, "ElementByteOrderMSB")
    dtype = np.dtype((">" if big else "<") + TYPES[fields["ElementType"]])
    local = fields[DATA_KEY].upper() == LOCAL
    data_path = path if local else path.parent / fields[DATA_KEY]
    if not data_path.is_file():
        raise ImageError(
            f"{path}: its voxels should be in one file '{fields[DATA_KEY]}', and {data_path} is not there. "
            "Keep both files together, or save the image as one .mha."
        )
    offset = header_bytes if local else int(fields.get("HeaderSize", "0"))
    if offset < 0:  # by the format: the voxels are the last bytes of the file
        offset = data_path.stat().st_size - int(np.prod(sizes)) * dtype.itemsize
    return StoredVolume(
        path=path,
        data_path=data_path,
        offset=offset,
        skip=0,
        compressed=_true(fields, "CompressedData"),
        dtype=dtype,
        shape=(sizes[2], sizes[1], sizes[0]),
        timepoints=int(np.prod(sizes[3:])),
        affine=_affine(path, fields, len(sizes)),
    )


def _true(fields: dict[str, str], key: str, default: bool = False) -> bool:
    return fields[key].upper().startswith(("T", "1")) if key in fields else default


def _numbers(fields: dict[str, str], keys: tuple[str, ...], default: np.ndarray) -> np.ndarray:
    """The numbers under the first key that is there: MetaImage has several names for a thing."""
    text = next((fields[key] for key in keys if key in fields), None)
    if text is None:
        return default
    numbers = np.array([float(number) for number in text.split()])
    if numbers.size != default.size:
        raise ValueError(f"{keys[0]} needs {default.size} numbers, found {numbers.size}")
    return numbers


def _affine(path: Path, fields: dict[str, str], dimension: int) -> np.ndarray:
    spacing = _numbers(fields, ("ElementSpacing", "ElementSize"), np.ones(dimension))
    if not np.all(spacing[:3] > 0):
        raise ImageError(f"{path}: spacing must be positive; found {spacing[:3].tolist()} mm. Correct the header.")
    origin = _numbers(fields, ("Offset", "Position", "Origin"), np.zeros(dimension))
    rows = _numbers(fields, ("TransformMatrix", "Rotation", "Orientation"), np.eye(dimension).ravel())
    directions = rows.reshape(dimension, dimension).T  # stored axis by axis; a column here
    affine = np.eye(4)
    affine[:3, :3] = directions[:3, :3] * spacing[:3]
    affine[:3, 3] = origin[:3]
    return LPS_TO_RAS @ affine


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
    return "".join(f"{key} = {value}\n" for key, value in lines.items() if value).encode("utf-8")
