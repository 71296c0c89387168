"""Which images a cohort has, and what each is called: of a folder, of a list of paths, or of a table.

A name is that of the files that are written, so no two cases share one, on no system.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import ImageError
from ..files.names import fault_of_name, same_to_some
from ..image import image_names, images_in
from ..printable import excerpt, shown
from ..records.job import LONGEST_TEXT

LIST_ENDING, TABLE_ENDING = ".txt", ".csv"
MOST_LIST_BYTES = 64 * 1024 * 1024
IMAGE_COLUMNS = ("image", "path")  # the first that a table has
COLUMNS = (*IMAGE_COLUMNS, "name", "series", "timepoint", "channel_1")  # channel_2 and so on, too
_UNFIT = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]+')
LONGEST_NAME_BYTES = 120  # endings and the names of structures come after it
PARENTS_IN_NAME = 3


@dataclass(frozen=True)
class Case:
    """One image of a cohort.

    Attributes:
        name: What its files are called, without their endings.
        images: Paths, one per channel.
        series: UID or number of a DICOM series; None takes the one that suits the model best.
        timepoint: Of a 4D image.
    """

    name: str
    images: tuple[str, ...]
    series: str | None = None
    timepoint: int | None = None


def is_cohort_file(path: str | os.PathLike) -> bool:
    """Whether a path is that of a list or a table of images."""
    return str(path).lower().endswith((LIST_ENDING, TABLE_ENDING)) and os.path.isfile(path)


def cases_of(path: str | os.PathLike, leave_out: str | os.PathLike | None = None) -> list[Case]:
    """The images that a path stands for, each with a name of its own.

    Args:
        path: A folder of images (each a file, a zip, or a folder of DICOM slices); a ``.txt`` file with one path per
            line; a ``.csv`` file with a column ``image``, and perhaps ``name``, ``series``, ``timepoint``,
            ``channel_1`` and so on; or one image. Paths in a file may be relative to its folder.
        leave_out: A folder that is no image, as that of the results.

    Raises:
        ImageError: There is no such file or folder, or nothing in it; or a table is not what it should be.
    """
    path = Path(path)
    if is_cohort_file(path):
        rows = _rows_of_table(path) if path.suffix.lower() == TABLE_ENDING else _rows_of_list(path)
        return named_apart(rows)
    if os.path.isdir(path):
        images = [each for each in images_in(path) if leave_out is None or not _same(each, Path(leave_out))]
        if not images:
            raise ImageError(f"{path}: holds no image beside {leave_out}.")
        return named_apart([Case(name, (str(each),)) for each, name in zip(images, image_names(images))])
    if not os.path.exists(path):
        raise ImageError(f"{path}: there is no such file or folder. Check the path.")
    return named_apart([Case(image_names([path])[0], (str(path),))])


def named_apart(cases: Sequence[Case]) -> list[Case]:
    """Cases whose names can be those of files, no two alike: folders' names come before those of several, then numbers.

    The order stays, and so do the names that only one case has.
    """
    names = [fit_name(case.name) for case in cases]
    for parents in range(1, PARENTS_IN_NAME + 1):
        repeated = _repeated(names)
        if not repeated:
            break
        longer = [_with_parents(case, parents) for case in cases]
        names = [other if same_to_some(name) in repeated else name for name, other in zip(names, longer)]
    taken = {same_to_some(name) for name in names if same_to_some(name) not in _repeated(names)}
    apart = []
    for name in names:
        number, unique = 1, name
        if same_to_some(name) in _repeated(names):
            while same_to_some(unique) in taken:
                number += 1
                unique = f"{name}_{number}"
            taken.add(same_to_some(unique))
        apart.append(unique)
    return [replace(case, name=name) for case, name in zip(cases, apart)]


def fit_name(name: str) -> str:
    """A name that every system takes for a file, as near to the one given as can be."""
    fit = _UNFIT.sub("_", name).strip(". ")
    fit = fit.encode("utf-8", "replace")[:LONGEST_NAME_BYTES].decode("utf-8", "ignore").rstrip(". ")
    return fit if fit and fault_of_name(fit) is None else f"case_{fit}".rstrip("_")


def _repeated(names: Iterable[str]) -> set[str]:
    seen: set[str] = set()
    repeated: set[str] = set()
    for name in map(same_to_some, names):
        (repeated if name in seen else seen).add(name)
    return repeated


def _with_parents(case: Case, count: int) -> str:
    parents = [part for part in Path(case.images[0]).absolute().parent.parts[1:]][-count:]
    return fit_name("_".join([*parents, case.name]))


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_LIST_BYTES + 1)
        if len(content) > MOST_LIST_BYTES:
            raise ImageError(f"{path}: has more than {MOST_LIST_BYTES // 1024**2} MB, which no list of images has.")
        if b"\0" in content:
            raise ImageError(f"{path}: not a text (byte {content.index(0)} is zero). Give a list or a table of images.")
        return content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ImageError(f"{path}: no UTF-8 text (byte {error.start}). Save the list as UTF-8.") from error
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror or error}).") from error


def _rows_of_list(path: Path) -> list[Case]:
    entries = [line.strip() for line in _lines(path)]
    entries = [entry for entry in entries if entry and not entry.startswith("#")]
    if not entries:
        raise ImageError(f"{path}: names no image. Write one path per line.")
    return [_case(path, entry) for entry in entries]


def _rows_of_table(path: Path) -> list[Case]:
    try:
        reader = csv.DictReader(_lines(path), strict=True)
        columns = [column.strip() for column in reader.fieldnames or ()]
        column = next((each for each in IMAGE_COLUMNS if each in columns), None)
        if column is None:
            header = excerpt(", ".join(columns)) or "nothing"
            raise ImageError(f"{path}: expected a column 'image' in its first line; found {header}.")
        reader.fieldnames = columns
        rows = [{key: (value or "").strip() for key, value in row.items() if isinstance(key, str)} for row in reader]
    except csv.Error as error:
        raise ImageError(f"{path}: not a table that can be read ({error}).") from error
    cases = [_case_of_row(path, number, row, column) for number, row in enumerate(rows, 2) if any(row.values())]
    if not cases:
        raise ImageError(f"{path}: names no image. Write one row per image below the header.")
    return cases


def _case_of_row(path: Path, line: int, row: dict[str, str], column: str) -> Case:
    if not row[column]:
        raise ImageError(f"{path}: row {line} has nothing in its column '{column}'. Name an image, or remove the row.")
    timepoint = row.get("timepoint") or None
    if timepoint is not None and not timepoint.isdecimal():
        raise ImageError(f"{path}: row {line}: the timepoint should be a whole number; found {shown(timepoint)}.")
    channels = []
    while channel := row.get(f"channel_{len(channels) + 1}"):
        channels.append(channel)
    case = _case(path, row[column], *channels)
    return replace(
        case,
        name=row.get("name") or case.name,
        series=row.get("series") or None,
        timepoint=None if timepoint is None else int(timepoint),
    )


def _case(path: Path, *images: str) -> Case:
    for image in images:
        if len(image) > LONGEST_TEXT:
            raise ImageError(f"{path}: {excerpt(image)} has {len(image)} characters, which no path has.")
    places = [path.absolute().parent / image for image in images]  # of a whole path, that path
    return Case(image_names([places[0]])[0], tuple(map(str, places)))
