"""What a folder, a zip or a file holds of DICOM, and which series of it is read."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ...errors import ImageError
from ...printable import excerpt
from ..formats.header_fields import shown
from .header import DicomFile, described
from .series import Volume, ranked, volumes_of
from .sources import sources

MOST_NAMES = 20  # of series that are told of


@dataclass(frozen=True)
class Contents:
    """The images of a folder, zip or file.

    Attributes:
        volumes: In no order that matters.
        damaged: Files with a ``problem``.
        pictures: What lies beside the scans, such as captures with colors.
    """

    path: Path
    volumes: list[Volume]
    damaged: list[DicomFile]
    pictures: list[DicomFile]


@dataclass(frozen=True)
class SeriesEntry:
    """A series, or one of several volumes of it, as a list shows it.

    Attributes:
        name: What it can be chosen by: its number where no other has it, else its UID.
        slice_distance_mm: Of slices; None of a single one.
        pixel_spacing_mm: Of rows and of columns.
        chosen: Whether it is the one that is read where none is named.
        is_volume: Whether it is a stack of slices, and neither an overview nor a picture of a screen.
    """

    name: str
    uid: str
    number: str
    description: str
    modality: str
    slices: int
    rows: int
    columns: int
    pixel_spacing_mm: tuple[float, float]
    slice_distance_mm: float | None
    kernel: str
    chosen: bool
    is_volume: bool = True


def contents_of(path: Path) -> Contents:
    """Look at all files.

    Raises:
        ImageError: There is no DICOM image, or a slice is so damaged that its series cannot be told.
    """
    files = [file for source in sources(path) if (file := described(source)) is not None]
    if not files:
        where = "in this folder or below it" if os.path.isdir(path) else "in it"
        raise ImageError(
            f"{path}: no DICOM images {where}. "
            "Give the folder that holds the slices of one CT series, or an image file (.nii.gz, .nrrd, .mha)."
        )
    damaged = [file for file in files if file.problem]
    return Contents(path, volumes_of(files), damaged, [file for file in files if file.picture])


def choose(contents: Contents, series: str | None, modality: str) -> tuple[Volume, tuple[str, ...]]:
    """The volume to read, and notes on what else there is.

    Raises:
        ImageError: None can be read; none is named so, or several are; or the series has damaged files.
    """
    path, volumes = contents.path, ranked(contents.volumes, modality)
    if series is not None:
        volumes = _named(contents, volumes, series)
    if not volumes:
        _refuse_damaged(contents.damaged)
        file = contents.pictures[0]
        raise ImageError(f"{file.source}: a DICOM file, {file.picture}, not a CT slice. Give the folder of the CT.")
    chosen = volumes[0]
    head = chosen.head
    _refuse_damaged([file for file in contents.damaged if file.uid == head.uid])
    if series is None and head.modality != modality:  # a damaged CT is not replaced by what lies beside it
        _refuse_damaged([file for file in contents.damaged if file.modality == modality])
    if not chosen.is_stack:
        raise ImageError(
            f"{path}: one single slice ({head.source.file_name}). A volume of 2 slices or more is needed. Give the "
            "folder that holds the slices of the series."
        )
    return chosen, _left_out(contents) + (_choice(chosen, volumes) if series is None else ())


def list_series(path: str | os.PathLike, modality: str = "CT") -> tuple[list[SeriesEntry], tuple[str, ...]]:
    """All volumes as a list, the one that is read where none is named first; and notes on files that are none.

    Raises:
        ImageError: There is no such file or folder, or no DICOM image.
    """
    if not os.path.exists(path):
        raise ImageError(f"{path}: there is no such file or folder. Check the path.")
    contents = contents_of(Path(path))
    volumes = ranked(contents.volumes, modality)
    listed, names = [], _counted_names(volumes)
    for index, volume in enumerate(volumes):
        head = volume.head
        listed.append(
            SeriesEntry(
                name=_shortest_name(volume, names),
                uid=head.uid,
                number=head.number,
                description=head.description,
                modality=head.modality,
                slices=len(volume.stack.slices),
                rows=head.format.rows,
                columns=head.format.columns,
                pixel_spacing_mm=volume.stack.slices[0].place.spacing,
                slice_distance_mm=volume.stack.distance_mm if volume.is_stack else None,
                kernel=head.kernel,
                chosen=index == 0 and volume.is_stack,
                is_volume=volume.is_stack and not (head.is_capture or head.is_localizer),
            )
        )
    return listed, _left_out(contents)


def name_of(head: DicomFile) -> str:
    """A series as messages name it."""
    return f"'{head.description or excerpt(head.number) or 'without a description'}'"


def _named(contents: Contents, volumes: list[Volume], series: str) -> list[Volume]:
    matches = [volume for volume in volumes if series in volume.names]
    # The series itself, where it is named without the part of several: the first one of them
    matches = matches or [
        volume for volume in volumes if volume.part == 1 and series in (volume.head.uid, volume.head.number)
    ]
    if len(matches) == 1:
        return matches
    if not matches:
        _refuse_damaged([file for file in contents.damaged if series in (file.uid, file.number)])
    names = _counted_names(volumes)
    known = "; ".join(_words(volume, names) for volume in volumes[:MOST_NAMES])
    reason = f"{len(matches)} series have the number" if matches else "no series has the UID or number"
    raise ImageError(f"{contents.path}: {reason} {shown(series)}. Choose one of: {known}.")


def _refuse_damaged(files: list[DicomFile]) -> None:
    if files:
        raise ImageError(f"{files[0].problem}. Copy or export the series again.")


def _left_out(contents: Contents) -> tuple[str, ...]:
    """Notes on files that make no volume."""
    notes = ()
    if contents.damaged:
        files = contents.damaged
        notes += (f"{len(files)} damaged files of other series were left out: {files[0].problem}.",)
    if contents.pictures:
        first = contents.pictures[0]
        name = excerpt(first.source.file_name)
        notes += (f"Pictures that were left out: {len(contents.pictures)}, such as {name}, {first.picture}.",)
    return notes


def _choice(chosen: Volume, volumes: list[Volume]) -> tuple[str, ...]:
    """A note on which of several volumes is read."""
    if len(volumes) < 2:
        return ()
    names = _counted_names(volumes)
    others = [_words(volume, names) for volume in volumes[1 : MOST_NAMES + 1]]
    left_out = "; ".join(others) + ("; ..." if len(volumes) > MOST_NAMES + 1 else "")
    return (
        f"The folder holds {len(volumes)} image series. Read: {_words(chosen, names)}. Left out: {left_out}. "
        "Another one can be chosen by its number or UID.",
    )


def _words(volume: Volume, names: Counter[str]) -> str:
    """A series with what tells it from others: description, number, slices, spacing, kernel."""
    head, stack = volume.head, volume.stack
    pixel = " x ".join(f"{value:.3g}" for value in stack.slices[0].place.spacing[::-1])
    facts = [
        f"series {excerpt(_shortest_name(volume, names))}",
        head.modality,
        f"{len(stack.slices)} slices",
        f"{pixel} mm",
    ]
    if volume.is_stack:
        facts.append(f"each {stack.distance_mm:.3g} mm")
    if head.kernel:
        facts.append(f"kernel {head.kernel}")
    return f"{name_of(head)} ({', '.join(fact for fact in facts if fact)})"


def _counted_names(volumes: list[Volume]) -> Counter[str]:
    return Counter(name for volume in volumes for name in volume.names)


def _shortest_name(volume: Volume, names: Counter[str]) -> str:
    """Number where it is the only one with it, else UID."""
    for name in reversed(volume.names):
        if names[name] == 1:
            return name
    return volume.names[0] if volume.names else "without a UID"
