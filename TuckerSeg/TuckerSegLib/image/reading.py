"""Reads a file, a DICOM folder, or one file per channel into an :class:`Image`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..errors import ImageError
from ..files.lfs import lfs_pointer
from .checks import check_geometry, cleaned
from .formats.metaimage import read_metaimage_header
from .formats.nifti import read_nifti_header
from .formats.nrrd import read_nrrd_header
from .geometry import Geometry
from .stored import StoredVolume, compact, read_stored
from .volume import Image

HEADER_READERS: dict[str, Callable[[Path], StoredVolume]] = {
    ".nii.gz": read_nifti_header,
    ".nii": read_nifti_header,
    ".hdr": read_nifti_header,
    ".hdr.gz": read_nifti_header,
    ".img": read_nifti_header,
    ".img.gz": read_nifti_header,
    ".nrrd": read_nrrd_header,
    ".nhdr": read_nrrd_header,
    ".mha": read_metaimage_header,
    ".mhd": read_metaimage_header,
}


def read_image(
    path: str | os.PathLike | Sequence[str | os.PathLike],
    timepoint: int | None = None,
    missing_value: float | None = None,
    series: str | None = None,
    modality: str | Sequence[str] = "CT",
) -> Image:
    """Read an image and check that it can be segmented.

    Nothing is resampled or reoriented. Values are scaled as the file says (a CT is in HU afterwards) and stay in
    a small type: int16 stays int16, see :func:`.stored.compact`.

    Args:
        path: NIfTI (.nii, .nii.gz, .hdr with .img), NRRD (.nrrd, .nhdr), MetaImage (.mha, .mhd); a folder or a zip
            with a DICOM series, or a DICOM file with several frames. Several paths are the channels of a
            multi-channel model, in its order, on the same grid.
        timepoint: Which volume of a 4D file, from 0. Needed if there are several.
        missing_value: Replaces voxels that are NaN; None: NaN and infinite voxels become air in a CT, else the smallest
            finite value.
        series: UID or number of a DICOM series; None takes the largest stack of the modality, and a note says which.
        modality: What the image should be, as DICOM names it, of all channels or of each: which series is preferred,
            and whether what was not measured is air.

    Returns:
        Array (C, Z, Y, X) in the file's orientation, geometry, and notes for the user.

    Raises:
        ImageError: The file is missing, truncated, damaged, not a volume of intensities, or on a grid that cannot be
            segmented. The message names the file, the problem and what to do.

    Example:
        >>> ct = read_image("CT.nii.gz")
        >>> ct.array.shape, ct.geometry.spacing_mm
        ((1, 210, 512, 512), (3.0, 0.8, 0.8))
    """
    paths = [Path(path)] if isinstance(path, (str, os.PathLike)) else [Path(part) for part in path]
    if not paths:
        raise ImageError("No image was given; one path per channel is needed.")
    modalities = [modality] * len(paths) if isinstance(modality, str) else modality
    if len(modalities) != len(paths):  # the run itself tells of a wrong number of channels
        modalities = [*modalities, *["CT"] * len(paths)][: len(paths)]
    images = [_read_channel(part, timepoint, missing_value, series, each) for part, each in zip(paths, modalities)]
    if len(images) == 1:
        return images[0]
    for image in images[1:]:
        if not images[0].geometry.same_grid(image.geometry):
            raise ImageError(
                f"{image.source}: not on the grid of {images[0].source}. All channels need the same one; found "
                f"{_grid(image.geometry)} and {_grid(images[0].geometry)}. Resample one to the other."
            )
    notes = tuple(f"{image.source}: {note}" for image in images for note in image.notes)
    array = np.concatenate([image.array for image in images])
    return Image(array, images[0].geometry, ", ".join(image.source for image in images), notes)


def _read_channel(
    path: Path, timepoint: int | None, missing_value: float | None, series: str | None, modality: str
) -> Image:
    if not os.path.exists(path):
        raise ImageError(f"{path}: there is no such file or folder. Check the path.")
    if not os.path.isdir(path) and not os.path.isfile(path):
        raise ImageError(f"{path}: neither a plain file nor a folder (a device or a pipe?). Give a file.")
    try:
        if is_dicom(path):
            array, geometry, notes = _read_dicom(path, timepoint, series, modality)
        else:
            _refuse_series(path, series)
            array, geometry, notes = _read_file(path, timepoint)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except MemoryError as error:
        raise ImageError(f"{path}: too large for this computer's memory.") from error
    array, value_notes = cleaned(array, str(path), missing_value, modality)
    return Image(array[None], geometry, str(path), (*notes, *value_notes))


def _read_file(path: Path, timepoint: int | None) -> tuple[np.ndarray, Geometry, tuple[str, ...]]:
    """Voxels, grid and notes of a file; the header is checked first, so that a bad grid is refused without delay."""
    read_header = _header_reader(path)
    if pointer := lfs_pointer(path):
        raise ImageError(f"{path} {pointer}")
    stored = read_header(path)
    geometry = Geometry(stored.shape, stored.affine)
    if stored.timepoints == 0:
        raise ImageError(f"{path}: empty, it holds no time points. Export the image again.")
    notes = stored.notes + check_geometry(geometry, str(path))
    chosen = _chosen_timepoint(path, stored.timepoints, timepoint)
    voxels, voxel_notes = read_stored(stored, chosen)
    array = compact(voxels, stored.slope, stored.intercept)
    notes += voxel_notes
    if stored.timepoints > 1:
        notes += (f"Time point {chosen} of {stored.timepoints} (0 to {stored.timepoints - 1}) was read.",)
    return array, geometry, notes


def _read_dicom(
    path: Path, timepoint: int | None, series: str | None, modality: str
) -> tuple[np.ndarray, Geometry, tuple[str, ...]]:
    from .dicom import read_dicom

    _chosen_timepoint(path, 1, timepoint)
    array, affine, notes = read_dicom(path, series, modality)
    geometry = Geometry(array.shape, affine)
    notes += check_geometry(geometry, str(path))
    return compact(array), geometry, notes


def is_dicom(path: str | os.PathLike) -> bool:
    """Whether a path is read as DICOM: a folder, or a file by what it holds, which may be a zip.

    Of a file whose name says otherwise DICOM says it plainly.

    Raises:
        OSError: It cannot be read.
    """
    path = Path(path)
    if os.path.isdir(path):
        return True
    with path.open("rb") as file:
        beginning = file.read(140)
    if path.name.lower().endswith(tuple(HEADER_READERS)):
        return beginning[128:132] == b"DICM"  # some scanners call their slices .img
    from .dicom.elements import looks_like_dicom
    from .dicom.sources import is_zip

    return is_zip(path) or looks_like_dicom(beginning)


def _refuse_series(path: Path, series: str | None) -> None:
    if series is not None:
        raise ImageError(f"{path}: holds no series to choose from; only DICOM does.")


def _header_reader(path: Path) -> Callable[[Path], StoredVolume]:
    name = path.name.lower()
    for extension, reader in HEADER_READERS.items():
        if name.endswith(extension):
            return reader
    raise ImageError(
        f"{path}: not an image that can be read. Expected {', '.join(HEADER_READERS)}, a folder or a zip of DICOM "
        "slices, or a DICOM file with several frames."
    )


def _chosen_timepoint(path: Path, count: int, timepoint: int | None) -> int:
    if timepoint is None:
        if count > 1:
            raise ImageError(
                f"{path}: holds {count} time points, and one is needed. Choose one of 0 to {count - 1}.",
                shell=f"That is --timepoint 0 to --timepoint {count - 1}.",
            )
        return 0
    if not 0 <= timepoint < count:
        raise ImageError(f"{path}: there is no time point {timepoint}; it holds 0 to {count - 1}.")
    return timepoint


def _grid(geometry: Geometry) -> str:
    sizes = "x".join(str(size) for size in geometry.shape[::-1])
    spacing = " x ".join(f"{value:.4g}" for value in geometry.spacing_mm[::-1])
    origin = ", ".join(f"{row[3]:.1f}" for row in geometry.affine[:3])
    return f"{sizes} voxels of {spacing} mm from ({origin})"
