"""What one DICOM file says about its slices, each tag checked where it is read.

SimpleITK (GDCM) reads the header, but takes a spacing of 1 mm, the origin and a slope of 1 where a tag is missing or
nonsense: what a slice needs is looked at here.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ImageError
from ...printable import excerpt
from ..checks import FARTHEST_MM
from .dicom_elements import ElementError, pixel_bytes
from .header_fields import finite_number, shown, whole_number

SERIES_UID, SERIES_DESCRIPTION, SERIES_NUMBER = "0020|000e", "0008|103e", "0020|0011"
MODALITY, POSITION, ORIENTATION, PIXEL_SPACING = "0008|0060", "0020|0032", "0020|0037", "0028|0030"
INTERCEPT, SLOPE, BITS, SIGNED = "0028|1052", "0028|1053", "0028|0100", "0028|0103"
NAMES = {
    POSITION: "ImagePositionPatient (0020,0032)",
    ORIENTATION: "ImageOrientationPatient (0020,0037)",
    PIXEL_SPACING: "PixelSpacing (0028,0030)",
    INTERCEPT: "RescaleIntercept (0028,1052)",
    SLOPE: "RescaleSlope (0028,1053)",
    BITS: "BitsAllocated (0028,0100)",
    SIGNED: "PixelRepresentation (0028,0103)",
}
NOT_A_SCAN = ("SEG", "RTDOSE", "RTSTRUCT", "PR", "SR", "KO", "REG")
STORAGE_CLASS = re.compile(rb"1\.2\.840\.10008\.5\.1\.4\.1\.1\.([\d.]+)")  # DICOM PS3.6, table A-1
SCAN_CLASSES = ("2", "2.1", "2.2", "4", "4.1", "4.4", "7", "20", "128", "130")  # CT, MR, captures, NM, PET
META_HEADER_BYTES = 1024
LONGEST_NAME = 64  # DICOM's own bound on a description
UNIT_LENGTH = 0.01  # how far directions may be from length 1 and from right angles
LARGEST_SCALE = 1e15  # of slope and intercept: no intensity beyond fits into float32
MOST_COMPRESSION = 1000  # pixels to bytes of the file; lossless slices of air alone reach some hundred


@dataclass(frozen=True)
class Slice:
    """One file. Directions and position in LPS mm.

    Attributes:
        series: What slices of one stack have in common.
        series_uid: Of the series that the file names.
        frames: More than 1 in multi-frame files, whose geometry and scaling are not looked at here.
        pixel_bits: Of a stored value.
        problem: Why it cannot be a slice of a volume; directions, position and spacing mean nothing then.
    """

    path: Path
    series: tuple
    series_uid: str
    name: str
    columns: int
    rows: int
    frames: int
    pixel_bits: int
    row_direction: np.ndarray
    column_direction: np.ndarray
    position: np.ndarray
    spacing: tuple[float, ...]
    problem: str | None = None


class _WrongTag(Exception):
    """What is wrong with a tag, as a message."""


def described(path: Path) -> Slice | None:
    """What a file's header says; None for files without pixels or of a kind that is not a scan.

    Raises:
        ImageError: Truncated, damaged or with colors.
    """
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        stored_bytes = pixel_bytes(path)
        reader.ReadImageInformation()
    except (ElementError, RuntimeError) as error:
        if _stores_slices(path):
            raise ImageError(f"{path}: truncated or damaged DICOM slice. Copy the series again.") from error
        return None  # reports, structure sets: no pixels in them
    tags = {key: reader.GetMetaData(key).strip(" \0") for key in reader.GetMetaDataKeys()}
    if tags.get(MODALITY) in NOT_A_SCAN:
        return None
    if reader.GetNumberOfComponents() != 1:
        raise ImageError(f"{path}: a DICOM file with colors, not a CT slice. Give the folder of the CT series alone.")
    columns, rows, *deeper = reader.GetSize()
    frames, problem = math.prod(deeper), None
    geometry = np.array([1.0, 0, 0, 0, 1, 0]), np.zeros(3), (1.0, 1.0)
    bits = whole_number(tags.get(BITS, "")) or 16
    try:
        _check_pixels(path, tags, columns, rows * frames, stored_bytes)
        if frames == 1:
            _check_scaling(tags)
            geometry = _geometry(tags)
    except _WrongTag as error:
        problem = f"{path}: {error}"
    directions, position, spacing = geometry
    uid = tags.get(SERIES_UID, "")
    described_as = tags.get(SERIES_DESCRIPTION) or tags.get(SERIES_NUMBER) or "without a description"
    return Slice(
        path=path,
        # A localizer has a normal of its own and may share the series with the slices: it makes another group.
        series=(uid, tuple(np.round(directions, 3) + 0.0), rows, columns),
        series_uid=uid,
        name=f"'{excerpt(described_as, LONGEST_NAME)}'",
        columns=columns,
        rows=rows,
        frames=frames,
        pixel_bits=bits,
        row_direction=directions[:3],
        column_direction=directions[3:],
        position=position,
        spacing=spacing,
        problem=problem,
    )


def _stores_slices(path: Path) -> bool:
    """True where the file's meta header, at its very beginning, promises slices of a scan."""
    with path.open("rb") as file:
        match = STORAGE_CLASS.search(file.read(META_HEADER_BYTES))
    return match is not None and match.group(1).decode() in SCAN_CLASSES


def _geometry(tags: dict[str, str]) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    """Directions (6,), position (3,) and spacing of the rows and of the columns."""
    directions = np.array(_numbers(tags, ORIENTATION, 6))
    axes = directions.reshape(2, 3)
    if np.abs(axes @ axes.T - np.eye(2)).max() > UNIT_LENGTH:
        raise _wrong(tags, ORIENTATION, "two directions of length 1 at right angles")
    spacing = _numbers(tags, PIXEL_SPACING, 2)
    if min(spacing) <= 0:
        raise _wrong(tags, PIXEL_SPACING, "2 positive numbers")
    position = np.array(_numbers(tags, POSITION, 3))
    if np.abs(position).max() > FARTHEST_MM:
        raise _wrong(tags, POSITION, f"3 finite numbers up to {FARTHEST_MM:g} mm")
    return directions, position, spacing


def _check_scaling(tags: dict[str, str]) -> None:
    for key in (INTERCEPT, SLOPE):
        if tags.get(key):  # without them, values are taken as they are stored
            (number,) = _numbers(tags, key, 1)
            if abs(number) > LARGEST_SCALE or (key == SLOPE and number == 0):
                raise _wrong(tags, key, "a number that makes intensities")


def _check_pixels(path: Path, tags: dict[str, str], columns: int, rows: int, stored: int | None) -> None:
    """Compare what the header says about the pixels with what the file holds, to less than a row of padding."""
    for key, allowed in ((BITS, ("8", "12", "16", "32")), (SIGNED, ("0", "1"))):
        if tags.get(key) not in allowed:
            raise _wrong(tags, key, f"one of {', '.join(allowed)}")
    row = columns * int(tags[BITS]) // 8
    needed = row * rows
    whole = path.stat().st_size
    if stored is None and needed > whole * MOST_COMPRESSION:
        raise _WrongTag(f"its header promises {needed} bytes of pixels, which a file of {whole} bytes cannot hold")
    if stored is not None and not needed <= stored < needed + row:
        problem = "truncated" if stored < needed else "damaged DICOM header"
        raise _WrongTag(f"{problem}; its header promises {needed} bytes of pixels, and {stored} are there")


def _numbers(tags: dict[str, str], key: str, count: int) -> tuple[float, ...]:
    numbers = [finite_number(part) for part in tags.get(key, "").split("\\")]
    if len(numbers) != count or None in numbers:
        raise _wrong(tags, key, f"{count} finite number{'s' if count > 1 else ''}")
    return tuple(numbers)


def _wrong(tags: dict[str, Any], key: str, expected: str) -> _WrongTag:
    found = shown(tags[key]) if tags.get(key) else "nothing"
    return _WrongTag(f"damaged DICOM header, {NAMES[key]}: expected {expected}, found {found}")
