"""Checks of zip files from elsewhere before anything is unpacked: no entry leaves the folder, none is a link, and the
unpacked size is not out of proportion."""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from ..errors import ModelFolderError
from ..files.names import fault_of_name, same_to_some
from ..printable import shown

LARGEST_RATIO = 20  # weights hardly shrink in a zip: of published ones, what comes out is 1.2 times as large
FREE_BYTES = 100 * 1024**2  # so much may come out of any zip
LARGEST_BYTES = 64 * 1024**3
MOST_ENTRIES = 10_000
DEEPEST = 32  # folders within each other; a model lies three deep
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
JUNK = ("__MACOSX", ".DS_Store")
# What reading one raises; NotImplementedError is a RuntimeError, as is the one for encrypted entries.
DAMAGES = (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, OSError, RuntimeError, ValueError, EOFError)


def split_archive(path: Path) -> tuple[Path, str]:
    """A path that goes on inside a file: the file, and the place in it; any other path as it is, and no place."""
    if not os.path.exists(path):
        for parent in path.parents:
            if os.path.isfile(parent):
                return parent, path.relative_to(parent).as_posix()
    return path, ""


def check_archive(path: Path) -> list[zipfile.ZipInfo]:
    """Check a zip's table of contents without unpacking anything.

    Args:
        path: Of the zip.

    Returns:
        Its files; folders and the files that file managers add are left out.

    Raises:
        ModelFolderError: Not a zip, or one that must not be unpacked.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except DAMAGES as error:
        raise ModelFolderError(f"{path} is not a readable zip ({error}). Copy or download it again.") from error
    if len(entries) > MOST_ENTRIES:
        raise ModelFolderError(f"{path}: {len(entries)} entries are no model; nothing was unpacked.")
    for entry in entries:
        if reason := _danger(entry):
            raise ModelFolderError(f"{path}: the entry {shown(entry.filename)} {reason}; nothing was unpacked.")
    of_the_model = [entry for entry in entries if not set(JUNK) & set(parts_of(entry))]
    if reason := _bad_name(of_the_model):
        raise ModelFolderError(f"{path}: {reason}; nothing was unpacked.")
    files = [entry for entry in of_the_model if not entry.is_dir()]
    total, packed = sum(entry.file_size for entry in files), path.stat().st_size
    if total > min(LARGEST_BYTES, max(FREE_BYTES, LARGEST_RATIO * packed)):
        raise ModelFolderError(
            f"{path}: {packed / 1e6:.0f} MB that unpack to {total / 1e6:.0f} MB in {len(entries)} entries are no "
            "model; nothing was unpacked."
        )
    return files


def parts_of(entry: zipfile.ZipInfo) -> tuple[str, ...]:
    """The folders and the name of a zip's entry, outermost first."""
    return PurePosixPath(entry.filename).parts


def _danger(entry: zipfile.ZipInfo) -> str | None:
    """Why an entry must not be unpacked; None where it may."""
    name, kind = entry.filename, stat.S_IFMT(entry.external_attr >> 16)
    if name.count("/") > DEEPEST:
        return f"lies in more than {DEEPEST} folders"
    if name.startswith("/") or "\\" in name or ":" in name or ".." in parts_of(entry):
        return "would leave its folder"
    if {"", "."} & set(name.removesuffix("/").split("/")):
        return "has a folder without a name"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if entry.flag_bits & 1:
        return "is encrypted"
    if entry.compress_type not in METHODS:
        return "is packed in a way that is not known"
    return None


def _bad_name(entries: list[zipfile.ZipInfo]) -> str | None:
    """Why the names of entries cannot be those of files on every system, as a clause; None where they can."""
    spelled: dict[tuple[str, ...], str] = {}
    for entry in entries:
        parts = parts_of(entry)
        for depth, part in enumerate(parts, 1):
            if fault := fault_of_name(part):
                return f"the entry {shown(entry.filename)}: the name {shown(part)} {fault}"
            other = spelled.setdefault(tuple(map(same_to_some, parts[:depth])), part)
            if other != part:
                both = f"{shown(part)} and {shown(other)}"
                return f"the entry {shown(entry.filename)}: {both} are one name on Windows and macOS"
    return None
