"""Which images lie in a folder: the files, and the folders of DICOM slices, that can be read one by one."""

from __future__ import annotations

import contextlib
import itertools
import os
from pathlib import Path

from ..errors import ImageError
from .reading import HEADER_READERS

MOST_LOOKED_AT = 5_000  # files of a folder within the folder
BEGINNING_BYTES = 140
ZIP_ENDING = ".zip"
LABELS_ENDING = ".seg.nrrd"
HEADER_OF = {".img": ".hdr", ".img.gz": ".hdr.gz"}  # voxels beside a header are one image


def images_in(folder: str | os.PathLike) -> list[Path]:
    """The images of a folder, in order of names; each is what :func:`.reading.read_image` takes.

    Files are told by their names, DICOM by its first bytes. A folder within the folder is an image where
    DICOM slices lie in it, or in the folders in it; other files are not looked for there. Where slices lie in the
    folder itself, it is the image. Segmentations of 3D Slicer and hidden files are left out.

    Args:
        folder: Its path.

    Raises:
        ImageError: There is no such folder, it cannot be read, or it holds no image.

    Example:
        >>> for path in images_in("CTs"):
        ...     ct = read_image(path)
    """
    folder = Path(folder)
    if not os.path.isdir(folder):
        raise ImageError(f"{folder}: there is no such folder. Check the path.")
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        if any(_is_slice(entry) for entry in entries):
            return [folder]
        images = [entry for entry in entries if _is_image(entry, entries)]
    except OSError as error:
        raise ImageError(f"{folder}: cannot be read ({error.strerror or error}).") from error
    if not images:
        raise ImageError(
            f"{folder}: holds no image. Expected {', '.join(HEADER_READERS)}, zips, or folders of DICOM slices."
        )
    return images


def listed_images(folder: str | os.PathLike) -> list[dict[str, str]]:
    """The images of a folder as JSON: ``path``, and a ``name`` that a result may have; errors as of `images_in`."""
    images = images_in(folder)
    return [{"path": str(path), "name": name} for path, name in zip(images, image_names(images))]


def image_names(images: list[Path]) -> list[str]:
    """A name for each image, without its ending; that of the whole file where two would have the same."""
    names = [_without_ending(path) for path in images]
    lower = [name.casefold() for name in names]  # many disks do not tell small letters from large ones
    return [path.name if lower.count(each) > 1 else name for path, name, each in zip(images, names, lower)]


def _is_image(entry: Path, beside: list[Path]) -> bool:
    if os.path.isdir(entry):
        return _holds_slices(entry)
    ending = _ending(entry)
    if ending is None:
        return entry.suffix.lower() == ZIP_ENDING and os.path.isfile(entry)
    header = HEADER_OF.get(ending)
    if header is not None and entry.with_name(entry.name[: -len(ending)] + header) in beside:
        return False
    return os.path.isfile(entry) and not entry.name.lower().endswith(LABELS_ENDING)


def _is_slice(entry: Path) -> bool:
    """Whether a plain file is DICOM, by its first bytes; one that cannot be read is none."""
    from .dicom.elements import looks_like_dicom

    if not os.path.isfile(entry):
        return False
    with contextlib.suppress(OSError), entry.open("rb") as file:
        beginning = file.read(BEGINNING_BYTES)
        # Some scanners call their slices .img: where the name says otherwise, the file has to say it plainly.
        return looks_like_dicom(beginning) if _ending(entry) is None else beginning[128:132] == b"DICM"
    return False


def _holds_slices(folder: Path) -> bool:
    files = (Path(place, name) for place, _, names in os.walk(folder) for name in sorted(names))
    return any(map(_is_slice, itertools.islice(files, MOST_LOOKED_AT)))


def _ending(path: Path) -> str | None:
    name = path.name.lower()
    return next((each for each in HEADER_READERS if name.endswith(each)), None)


def _without_ending(path: Path) -> str:
    ending = path.suffix if path.suffix.lower() == ZIP_ENDING and not os.path.isdir(path) else _ending(path) or ""
    return path.name[: len(path.name) - len(ending)] or path.name
