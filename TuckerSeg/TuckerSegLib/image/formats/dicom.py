"""A folder of DICOM slices as one volume.

SimpleITK (GDCM) reads headers, pixels and rescaling to HU. Which files belong together and where the slices lie is
decided here, from each slice's own position: ITK takes slices for stacked at right angles, which is wrong under
gantry tilt, and does not notice missing ones.
"""

from __future__ import annotations

import functools
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ImageError
from .header_fields import finite_number, shown, wrong_field

SERIES_UID, SERIES_DESCRIPTION, SERIES_NUMBER = "0020|000e", "0008|103e", "0020|0011"
MODALITY, POSITION, ORIENTATION, PIXEL_SPACING = "0008|0060", "0020|0032", "0020|0037", "0028|0030"
NOT_A_SCAN = ("SEG", "RTDOSE", "RTSTRUCT", "PR", "SR", "KO", "REG")
STORAGE_CLASS = re.compile(rb"1\.2\.840\.10008\.5\.1\.4\.1\.1\.([\d.]+)")  # DICOM PS3.6, table A-1
SCAN_CLASSES = ("2", "2.1", "2.2", "4", "4.1", "4.4", "7", "20", "128", "130")  # CT, MR, captures, NM, PET
META_HEADER_BYTES = 1024
GAP_ERROR = 0.1  # of the spacing; above it a structure's place would be off by a visible amount
GAP_NOTE = 0.01
FARTHEST_MM = 1e6  # of a position; no scanner is a kilometer long
SAME_POSITION = 0.01  # of the spacing
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class _Slice:
    """One file. Directions and position in LPS mm; ``frames`` > 1 in multi-frame files."""

    path: Path
    series: tuple
    name: str
    columns: int
    rows: int
    frames: int
    row_direction: np.ndarray
    column_direction: np.ndarray
    position: np.ndarray
    spacing: tuple[float, float]


def read_dicom_folder(folder: Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Read the largest image series of a folder, or else of the folders in it.

    Returns:
        Array (Z, Y, X) in HU (or what the modality has), slices sorted along their normal; affine (4, 4) from
        index (x, y, z) to RAS mm, sheared under gantry tilt; notes.

    Raises:
        ImageError: No DICOM images, colors, slices missing or twice, or a file that is truncated.
    """
    series, notes = _largest_series(folder)
    with _silent_gdcm():
        if len(series) == 1 and series[0].frames > 1:
            return (*_multi_frame(series[0].path), notes)
        slices, affine, position_notes = _stacked(folder, series)
        first = _pixels(slices[0].path)
        array = np.empty((len(slices), *first.shape), first.dtype)
        for index, file in enumerate(slices):
            pixels = first if index == 0 else _pixels(file.path)
            if pixels.dtype != array.dtype:  # a rescale slope of its own: fractions must not be cut off
                array = array.astype(np.promote_types(array.dtype, pixels.dtype))
            array[index] = pixels
    return array, affine, notes + position_notes


def _largest_series(folder: Path) -> tuple[list[_Slice], tuple[str, ...]]:
    groups: dict[tuple, list[_Slice]] = defaultdict(list)
    with _silent_gdcm():
        for path in _dicom_files(folder):
            file = _described(path)
            if file is not None:
                groups[file.series].append(file)
    if not groups:
        raise ImageError(
            f"{folder}: no DICOM images in this folder or below it. "
            "Give the folder that holds the slices of one CT series, or an image file (.nii.gz, .nrrd, .mha)."
        )
    ranked = sorted(groups.values(), key=lambda files: -sum(file.frames * file.rows * file.columns for file in files))
    if len(ranked) == 1:
        return ranked[0], ()
    names = [f"{files[0].name} ({sum(file.frames for file in files)} slices)" for files in ranked]
    note = f"The folder holds {len(ranked)} image series. Read: {names[0]}. Left out: {', '.join(names[1:])}."
    return ranked[0], (note,)


def _dicom_files(folder: Path) -> Iterator[Path]:
    for directory, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(directory, name)
            try:
                with path.open("rb") as file:
                    has_preamble = file.read(132).endswith(b"DICM")
            except OSError as error:
                raise ImageError(f"{path}: cannot be read ({error.strerror}).") from error
            if (has_preamble or path.suffix.lower() == ".dcm") and name != "DICOMDIR":
                yield path


def _described(path: Path) -> _Slice | None:
    """What a file's header says; None for files without pixels or of a kind that is not a scan."""
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        if _stores_slices(path):
            raise ImageError(f"{path}: truncated or damaged DICOM slice. Copy the series again.") from error
        return None  # reports, structure sets: no pixels in them

    def tag(key: str, default: str = "") -> str:
        return reader.GetMetaData(key).strip() if reader.HasMetaDataKey(key) else default

    if tag(MODALITY) in NOT_A_SCAN:
        return None
    if reader.GetNumberOfComponents() != 1:
        raise ImageError(f"{path}: a DICOM file with colors, not a CT slice. Give the folder of the CT series alone.")
    columns, rows, *deeper = reader.GetSize()
    # A localizer has a normal of its own and may share the series with the slices: it makes another group.
    numbers = functools.partial(_numbers, path)
    directions = np.array(numbers("ImageOrientationPatient", tag(ORIENTATION), 6, (1, 0, 0, 0, 1, 0)))
    spacing = numbers("PixelSpacing", tag(PIXEL_SPACING), 2, reader.GetSpacing()[1::-1])
    return _Slice(
        path=path,
        series=(tag(SERIES_UID), tuple(np.round(directions, 3) + 0.0), rows, columns),
        name=shown(tag(SERIES_DESCRIPTION) or tag(SERIES_NUMBER) or "without a description"),
        columns=columns,
        rows=rows,
        frames=deeper[0] if deeper else 1,
        row_direction=directions[:3],
        column_direction=directions[3:],
        position=np.array(numbers("ImagePositionPatient", tag(POSITION), 3, reader.GetOrigin()[:3])),
        spacing=(spacing[0], spacing[1]),
    )


def _stores_slices(path: Path) -> bool:
    """True where the file's meta header, at its very beginning, promises slices of a scan."""
    with path.open("rb") as file:
        found = STORAGE_CLASS.search(file.read(META_HEADER_BYTES))
    return found is not None and found.group(1).decode() in SCAN_CLASSES


def _numbers(path: Path, name: str, text: str, count: int, default: Any) -> tuple[float, ...]:
    """The numbers of an element; the default where there are not so many."""
    parts = [part for part in text.split("\\") if part.strip()]
    if len(parts) != count:
        return tuple(default)
    numbers = tuple(map(finite_number, parts))
    if any(number is None or abs(number) > FARTHEST_MM for number in numbers):
        raise wrong_field(path, name, f"{count} finite numbers, in mm", text)
    return numbers


def _stacked(folder: Path, series: list[_Slice]) -> tuple[list[_Slice], np.ndarray, tuple[str, ...]]:
    """The slices in order, their affine to RAS mm, and notes on their distances."""
    head = series[0]
    if len(series) < 2:
        raise ImageError(f"{folder}: one single slice ({head.path.name}). A volume of 2 slices or more is needed.")
    normal = np.cross(head.row_direction, head.column_direction)
    slices = sorted(series, key=lambda file: float(file.position @ normal))
    positions = np.stack([file.position for file in slices])
    gaps = np.diff(positions @ normal)
    spacing = float(np.median(gaps))
    doubled = int(np.sum(gaps <= SAME_POSITION * spacing))
    if doubled or spacing <= 0:
        raise ImageError(
            f"{folder}: series {head.name} has {doubled} slices at a position of another slice: several time points "
            "or reconstructions, or copies. Give a folder with one volume."
        )
    missing = int(np.sum(np.round(gaps / spacing) - 1))
    step = (positions[-1] - positions[0]) / (len(slices) - 1)
    line = positions[0] + np.arange(len(slices))[:, None] * step
    deviation = float(np.linalg.norm(positions - line, axis=1).max())
    uneven = max(float(np.abs(gaps - spacing).max()), deviation)
    if uneven > GAP_ERROR * spacing:
        cause = f"{missing} slices seem to be missing" if missing > 0 else "slices are not evenly spaced"
        raise ImageError(
            f"{folder}: {cause} in series {head.name}; expected one each {spacing:.3f} mm, found distances of "
            f"{gaps.min():.3f} to {gaps.max():.3f} mm. Copy the whole series, or resample it to even slices."
        )
    notes = ()
    if uneven > GAP_NOTE * spacing:
        notes = (f"Slices are up to {uneven:.2f} mm from even spacing ({spacing:.2f} mm); even spacing was assumed.",)
    affine = np.eye(4)
    # DICOM gives the distance of rows first: that is y
    affine[:3, 0] = head.row_direction * head.spacing[1]
    affine[:3, 1] = head.column_direction * head.spacing[0]
    affine[:3, 2], affine[:3, 3] = step, positions[0]
    return slices, LPS_TO_RAS @ affine, notes


def _pixels(path: Path) -> np.ndarray:
    """One slice, rescaled, (Y, X)."""
    import SimpleITK

    return SimpleITK.GetArrayFromImage(_executed(path)).squeeze()


def _multi_frame(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A file with all its slices: array (Z, Y, X) and affine to RAS mm, both as GDCM has them."""
    import SimpleITK

    image = _executed(path)
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image), LPS_TO_RAS @ affine


def _executed(path: Path) -> Any:
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        return reader.Execute()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ImageError(
            f"{path}: its pixels cannot be read, the file may be truncated ({reason}). Copy the series again."
        ) from error


@contextmanager
def _silent_gdcm() -> Iterator[None]:
    """Keep ITK's warnings off the terminal; what matters is said in notes and errors."""
    import SimpleITK

    shown = SimpleITK.ProcessObject.GetGlobalWarningDisplay()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        SimpleITK.ProcessObject.SetGlobalWarningDisplay(shown)
