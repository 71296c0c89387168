"""A folder of DICOM slices as one volume.

SimpleITK (GDCM) reads headers, pixels and rescaling to HU. Which files belong together and where the slices lie is
decided here, from each slice's own position: ITK takes slices for stacked at right angles, which is wrong under
gantry tilt, and does not notice missing ones.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ImageError
from ...printable import excerpt
from ..sizes import check_memory
from .dicom_header import Slice, described

GAP_ERROR = 0.1  # of the spacing; above it a structure's place would be off by a visible amount
GAP_NOTE = 0.01
SAME_POSITION = 0.01  # of the spacing
SAME_SPACING = 0.01  # of it
MOST_NAMES = 20  # of series that are told of
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


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
            return (*_multi_frame(series[0]), notes)
        slices, affine, position_notes = _stacked(folder, series)
        first = _pixels(slices[0])
        shape = (len(slices), *first.shape)
        check_memory(folder, shape, first.dtype)
        array = np.empty(shape, first.dtype)
        for index, file in enumerate(slices):
            pixels = first if index == 0 else _pixels(file)
            if pixels.dtype != array.dtype:  # a rescale slope of its own: fractions must not be cut off
                array = array.astype(np.promote_types(array.dtype, pixels.dtype))
            array[index] = pixels
    return array, affine, notes + position_notes


def _largest_series(folder: Path) -> tuple[list[Slice], tuple[str, ...]]:
    groups: dict[tuple, list[Slice]] = defaultdict(list)
    with _silent_gdcm():
        for path in _dicom_files(folder):
            file = described(path)
            if file is not None:
                groups[file.series].append(file)
    if not groups:
        raise ImageError(
            f"{folder}: no DICOM images in this folder or below it. "
            "Give the folder that holds the slices of one CT series, or an image file (.nii.gz, .nrrd, .mha)."
        )
    damaged = [file for files in groups.values() for file in files if file.problem]
    sound = [kept for files in groups.values() if (kept := [file for file in files if not file.problem])]
    if not sound:
        raise ImageError(f"{damaged[0].problem}. Copy or export the series again.")
    ranked = sorted(sound, key=lambda files: -sum(file.frames * file.rows * file.columns for file in files))
    for file in damaged:  # a series is not read without the slices that are damaged
        if file.series_uid == ranked[0][0].series_uid:
            raise ImageError(f"{file.problem}. Copy or export the series again.")
    notes = ()
    if damaged:
        notes = (f"{len(damaged)} damaged files of other series were left out: {damaged[0].problem}.",)
    if len(ranked) > 1:
        names = [f"{files[0].name} ({sum(file.frames for file in files)} slices)" for files in ranked]
        left_out = ", ".join(names[1:MOST_NAMES]) + (", ..." if len(names) > MOST_NAMES else "")
        notes += (f"The folder holds {len(ranked)} image series. Read: {names[0]}. Left out: {left_out}.",)
    return ranked[0], notes


def _dicom_files(folder: Path) -> Iterator[Path]:
    for directory, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(directory, name)
            if not os.path.isfile(path):
                continue  # a pipe or a device would never end
            try:
                with path.open("rb") as file:
                    has_preamble = file.read(132).endswith(b"DICM")
            except OSError as error:
                raise ImageError(f"{path}: cannot be read ({error.strerror}).") from error
            if (has_preamble or path.suffix.lower() == ".dcm") and name != "DICOMDIR":
                yield path


def _stacked(folder: Path, series: list[Slice]) -> tuple[list[Slice], np.ndarray, tuple[str, ...]]:
    """The slices in order, their affine to RAS mm, and notes on their distances."""
    head = series[0]
    if len(series) < 2:
        raise ImageError(f"{folder}: one single slice ({head.path.name}). A volume of 2 slices or more is needed.")
    several = next((file for file in series if file.frames > 1), None)
    if several is not None:
        raise ImageError(
            f"{folder}: series {head.name} has several files with several slices each ({several.path.name}). Give a "
            "folder with one of them, or convert the series to one file (.nii.gz, .nrrd)."
        )
    other = next((file for file in series if not np.allclose(file.spacing, head.spacing, SAME_SPACING)), None)
    if other is not None:
        raise ImageError(
            f"{folder}: PixelSpacing changes within series {head.name}: {_listed(head.spacing)} mm in "
            f"{head.path.name}, {_listed(other.spacing)} mm in {other.path.name}. Give a folder with one volume."
        )
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


def _listed(spacing: tuple[float, ...]) -> str:
    return " x ".join(f"{value:.4g}" for value in spacing)


def _pixels(file: Slice) -> np.ndarray:
    """One slice, rescaled, (Y, X)."""
    import SimpleITK

    check_memory(file.path, (file.rows, file.columns), np.dtype(np.float64))
    pixels = SimpleITK.GetArrayFromImage(_executed(file.path))
    if pixels.size != file.rows * file.columns or pixels.dtype.kind not in "iuf":
        raise ImageError(
            f"{file.path}: its pixels are not what its header says: expected {file.columns}x{file.rows} numbers, found "
            f"{pixels.shape[::-1]} of {pixels.dtype}. Copy the series again."
        )
    return pixels.reshape(file.rows, file.columns)


def _multi_frame(file: Slice) -> tuple[np.ndarray, np.ndarray]:
    """A file with all its slices: array (Z, Y, X) and affine to RAS mm, both as GDCM has them."""
    import SimpleITK

    shape = (file.frames, file.rows, file.columns)
    check_memory(file.path, shape, np.dtype(f"u{max(2, file.pixel_bits // 8)}"))
    image = _executed(file.path)
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
        reason = excerpt(str(error).strip().splitlines()[-1])
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
