"""What became of a case, in a file beside its result: by it a run that goes on knows what is done and whole."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..errors import ModelFileError
from ..records.serialization import from_json, to_json
from ..records.statistics import RunStatistics
from ..text_files import read_json, write_text

RECORD_ENDING = ".record.json"
DONE, FAILED = "done", "failed"
CHUNK_BYTES = 1 << 20
DETACHED_HEADERS = (".hdr", ".hdr.gz", ".mhd", ".nhdr")  # their voxels are in files of the same name


@dataclass(frozen=True)
class FileStamp:
    """A file as it was: its name (with folders below that of the case or the image), size and time of change (ns)."""

    VERSION: ClassVar[int] = 1

    name: str
    size: int
    changed_ns: int


@dataclass(frozen=True)
class OutputStamp:
    """A file that was written: its name within the cohort's folder, size and SHA-256."""

    VERSION: ClassVar[int] = 1

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class CaseRecord:
    """What became of a case.

    Attributes:
        name: Of the case.
        state: ``done`` or ``failed``.
        settings_key: Of the model and the settings that it was run with.
        images: Paths, one per channel.
        series: Of DICOM, where one was named.
        inputs: Files of the images, as they were when they were read; of a case that failed as far as they were there.
        input_sha256: Over their names and contents.
        outputs: What was written.
        message: Why it failed; empty where it did not.
        seconds: The whole case.
        host: Computer and process that did it.
        statistics: Of the run; None where it failed.
    """

    VERSION: ClassVar[int] = 1

    name: str
    state: str
    settings_key: str
    images: tuple[str, ...]
    series: str | None
    inputs: tuple[FileStamp, ...]
    input_sha256: str
    outputs: tuple[OutputStamp, ...]
    message: str = ""
    seconds: float = 0.0
    host: str = ""
    statistics: RunStatistics | None = None


def record_path(folder: str | os.PathLike, name: str) -> Path:
    """Where the record of a case lies."""
    return Path(folder, name + RECORD_ENDING)


def write_record(folder: str | os.PathLike, record: CaseRecord) -> None:
    """Write a record, whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    write_text(record_path(folder, record.name), json.dumps(to_json(record), indent=1))


def written_ns(path: Path) -> int | None:
    """When a record was written; None where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def read_record(path: Path) -> CaseRecord | None:
    """The record in a file; None where there is none, or none that can be read: the case is done again then."""
    try:
        return from_json(CaseRecord, read_json(path))
    except (OSError, ValueError, ModelFileError):
        return None


def records_in(folder: str | os.PathLike) -> list[CaseRecord]:
    """All records of a cohort's folder, in order of names."""
    paths = sorted(Path(folder).glob("*" + RECORD_ENDING))
    return [record for record in map(read_record, paths) if record is not None]


def is_removed(record: CaseRecord) -> bool:
    """Whether a case failed whose image was taken away since: the folder that held it is there, and the image is not.

    Such a case belongs to the cohort no more. Where the folder is not there either, as on another computer, nobody
    knows; and an image that never was there has no stamps.
    """
    if record.state != FAILED or not record.inputs:
        return False
    gone = [image for image in record.images if not os.path.exists(image)]
    return bool(gone) and all(os.path.isdir(os.path.dirname(image)) for image in gone)


def input_files(images: tuple[str, ...]) -> list[Path]:
    """The files of images: of a folder all of them, of a header the voxels beside it."""
    files = []
    for image in map(Path, images):
        if os.path.isdir(image):
            files += sorted(path for path in image.rglob("*") if os.path.isfile(path))
            continue
        files.append(image)
        ending = next((each for each in DETACHED_HEADERS if image.name.lower().endswith(each)), None)
        if ending is not None:
            stem = image.name[: -len(ending)] + "."
            beside = (path for path in image.parent.iterdir() if path.name.startswith(stem) and path != image)
            files += sorted(path for path in beside if os.path.isfile(path))
    return files


def stamps_of(images: tuple[str, ...]) -> tuple[FileStamp, ...]:
    """What changes whenever the files of images do, where nobody sets their times back. Reads nothing of them.

    Raises:
        OSError: One of them is not there.
    """
    stats = [(path, path.stat()) for path in input_files(images)]
    return tuple(FileStamp(_name_in(images, path), stat.st_size, stat.st_mtime_ns) for path, stat in stats)


def digest_of(images: tuple[str, ...]) -> str:
    """SHA-256 over the names, sizes and contents of the files of images.

    Raises:
        OSError: One of them cannot be read.
    """
    digest = hashlib.sha256()
    for path in input_files(images):
        digest.update(f"{_name_in(images, path)}\0{path.stat().st_size}\0".encode("utf-8", "surrogatepass"))
        _feed(digest, path)
    return digest.hexdigest()


def stamp_of_output(folder: str | os.PathLike, path: Path) -> OutputStamp:
    """A file as it was written.

    Raises:
        OSError: It is not there.
    """
    digest = hashlib.sha256()
    _feed(digest, path)
    return OutputStamp(path.relative_to(folder).as_posix(), path.stat().st_size, digest.hexdigest())


def is_whole(folder: str | os.PathLike, record: CaseRecord) -> bool:
    """Whether all that was written is there, as it was written."""
    try:
        return all(stamp_of_output(folder, Path(folder, each.name)) == each for each in record.outputs)
    except OSError:
        return False


def has_same_input(record: CaseRecord, images: tuple[str, ...]) -> bool:
    """Whether images are those of a record: by the times of their files, else by what is in them."""
    try:
        stamps = stamps_of(images)
        if stamps == record.inputs:
            return True
        sizes = [(each.name, each.size) for each in stamps]
        alike = sizes == [(each.name, each.size) for each in record.inputs]
        return alike and digest_of(images) == record.input_sha256
    except OSError:
        return False


def _name_in(images: tuple[str, ...], path: Path) -> str:
    for number, image in enumerate(images):
        if os.path.isdir(image) and path.is_relative_to(image):
            return f"{number}/{path.relative_to(image).as_posix()}"
    return path.name


def _feed(digest: hashlib._Hash, path: Path) -> None:
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            digest.update(piece)
