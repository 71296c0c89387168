"""Where DICOM files lie: in a folder and the folders in it, in a zip, or alone. What they hold is not known here."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ...errors import ImageError
from ...printable import excerpt
from ..sizes import LARGEST_RATIO, check_memory

LONGEST_MEMBER_NAME = 200
MOST_MEMBERS = 100_000  # of a zip; a CT of 10 000 slices with its reports is far below
KNOWN_PACKING = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others ask for memory by what their header claims
ENCRYPTED = 0x1
ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
INDEX_NAME = "DICOMDIR"  # lists the files of a folder, and is none of them


@dataclass(frozen=True)
class Source:
    """A file, wherever it lies.

    Attributes:
        name: As messages name it, with its path.
        file_name: Without the path.
        size: In bytes.
        open: Gives it as a stream that can seek; raises ImageError where it cannot be read.
        begin: Gives it as a stream that may not seek, of which little is read.
    """

    name: str
    file_name: str
    size: int
    open: Callable[[], BinaryIO]
    begin: Callable[[], BinaryIO]

    def __str__(self) -> str:
        return self.name


def sources(path: Path) -> Iterator[Source]:
    """The plain files at a path: of a folder and the folders in it, of a zip, or the file itself, in order of names.

    Raises:
        ImageError: A damaged zip.
    """
    if os.path.isdir(path):
        yield from _of_folder(path)
    elif is_zip(path):
        yield from _of_zip(path)
    else:
        yield _of_file(path)


def is_zip(path: Path) -> bool:
    """Whether a plain file begins as a zip does."""
    with path.open("rb") as file:
        return file.read(4) in ZIP_MAGICS


def _of_folder(folder: Path) -> Iterator[Source]:
    for directory, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(directory, name)
            if os.path.isfile(path) and name != INDEX_NAME:  # a pipe or a device would never end
                yield _of_file(path)


def _of_file(path: Path) -> Source:
    def opened() -> BinaryIO:
        try:
            return path.open("rb")
        except OSError as error:
            raise ImageError(f"{path}: cannot be read ({error.strerror}).") from error

    return Source(str(path), path.name, path.stat().st_size, opened, opened)


def _of_zip(path: Path) -> Iterator[Source]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise ImageError(f"{path}: a damaged zip ({excerpt(str(error))}). Copy or download it again.") from error
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) > MOST_MEMBERS:
        raise ImageError(f"{path}: holds {len(members)} files; up to {MOST_MEMBERS} are looked at. Unpack it.")
    if sum(member.compress_size for member in members) > path.stat().st_size:
        raise ImageError(f"{path}: a damaged zip, whose files overlap. Copy or download it again.")
    for member in sorted(members, key=lambda member: member.filename):
        file_name = member.filename.rsplit("/", 1)[-1]
        if file_name != INDEX_NAME:
            yield _of_member(archive, member, f"{path}: {excerpt(member.filename, LONGEST_MEMBER_NAME)}", file_name)


def _of_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, file_name: str) -> Source:
    """A member, which is unpacked whenever it is opened: slices are small, and nothing is written to the disk."""

    def streamed() -> BinaryIO:
        if member.flag_bits & ENCRYPTED:
            raise ImageError(f"{name}: encrypted. Unpack the zip with its password, and give the folder.")
        if member.compress_type not in KNOWN_PACKING:
            raise ImageError(f"{name}: packed in a way that is not read. Unpack the zip, and give the folder.")
        return _Unpacked(archive, member, name)

    def opened() -> BinaryIO:
        if member.file_size > max(member.compress_size, 1) * LARGEST_RATIO:
            raise ImageError(f"{name}: damaged; {member.compress_size} bytes cannot unpack to {member.file_size}.")
        check_memory(name, (member.file_size,), np.dtype(np.uint8))
        with streamed() as stream:
            return io.BytesIO(stream.read())

    return Source(name, file_name, member.file_size, opened, streamed)


class _Unpacked(io.RawIOBase):
    """A member as a stream that cannot seek; what is wrong with it is an ImageError."""

    def __init__(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str):
        self._name = name
        self._stream = self._guarded(lambda: archive.open(member))

    def read(self, size: int = -1) -> bytes:
        return self._guarded(lambda: self._stream.read(size))

    def _guarded(self, do: Callable[[], Any]) -> Any:
        try:
            return do()
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
            reason = excerpt(str(error))
            raise ImageError(f"{self._name}: damaged in the zip ({reason}). Copy the zip again.") from error
