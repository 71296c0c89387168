"""Zip files from elsewhere, unpacked without letting them do harm: no entry leaves the folder, none is a link, and
what comes out is not out of proportion."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from ..errors import Cancelled, DownloadError, ModelFolderError
from ..files.names import fault_of_name, same_to_some
from ..files.sync import synced_file
from .download import check_space

LARGEST_RATIO = 20  # weights hardly shrink in a zip: of published ones, what comes out is 1.2 times as large
FREE_BYTES = 100 * 1024**2  # so much may come out of any zip
LARGEST_BYTES = 64 * 1024**3
MOST_ENTRIES = 10_000
CHUNK_BYTES = 1 << 20
JUNK = ("__MACOSX", ".DS_Store")


def check_archive(path: Path) -> list[zipfile.ZipInfo]:
    """Look at a zip's table of contents without unpacking anything.

    Returns:
        Its files; folders and what file managers leave are left out.

    Raises:
        ModelFolderError: Not a zip, or one that must not be unpacked.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise ModelFolderError(f"{path} is not a readable zip ({error}). Copy or download it again.") from error
    for entry in entries:
        if reason := _danger(entry):
            raise ModelFolderError(f"{path}: the entry {entry.filename!r} {reason}; nothing was unpacked.")
    wanted = [entry for entry in entries if not set(JUNK) & set(_parts(entry))]
    if reason := _bad_name(wanted):
        raise ModelFolderError(f"{path}: {reason}; nothing was unpacked.")
    files = [entry for entry in wanted if not entry.is_dir()]
    total, packed = sum(entry.file_size for entry in files), path.stat().st_size
    if len(entries) > MOST_ENTRIES or total > min(LARGEST_BYTES, max(FREE_BYTES, LARGEST_RATIO * packed)):
        raise ModelFolderError(
            f"{path}: {packed / 1e6:.0f} MB that unpack to {total / 1e6:.0f} MB in {len(entries)} entries are no "
            "model; nothing was unpacked."
        )
    return files


def unpack(
    path: Path,
    folder: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Unpack a zip into an empty folder; every file is on the disk when this returns.

    Args:
        progress: Called with the bytes written, and of how many.

    Raises:
        ModelFolderError: See :func:`check_archive`; or it is damaged.
        DownloadError: The disk is too full.
        Cancelled: ``cancelled`` said so.
    """
    files = check_archive(path)
    total, done = sum(entry.file_size for entry in files), 0
    check_space(folder, total)
    with zipfile.ZipFile(path) as archive:
        for entry in files:
            target = folder.joinpath(*_parts(entry))
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as source, synced_file(target) as file:
                    while chunk := source.read(CHUNK_BYTES):
                        if cancelled():
                            raise Cancelled("Unpacking was cancelled.")
                        file.write(chunk)
                        done += len(chunk)
                        progress(done, total)
            except (zipfile.BadZipFile, zlib.error, EOFError, FileExistsError, RuntimeError) as error:
                raise ModelFolderError(f"{path} is damaged at {entry.filename!r} ({error}).") from error
            except OSError as error:
                raise DownloadError(f"{target} cannot be written: {error.strerror}.") from error


def _parts(entry: zipfile.ZipInfo) -> tuple[str, ...]:
    return PurePosixPath(entry.filename).parts


def _danger(entry: zipfile.ZipInfo) -> str | None:
    """Why an entry must not be unpacked; None where it may."""
    name, kind = entry.filename, stat.S_IFMT(entry.external_attr >> 16)
    if name.startswith("/") or "\\" in name or ":" in name or ".." in _parts(entry):
        return "would leave its folder"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if entry.flag_bits & 1:
        return "is encrypted"
    return None


def _bad_name(entries: list[zipfile.ZipInfo]) -> str | None:
    """Why the names of entries cannot be those of files on every system, as a clause; None where they can."""
    spelled: dict[tuple[str, ...], str] = {}
    for entry in entries:
        parts = _parts(entry)
        for depth, part in enumerate(parts, 1):
            if fault := fault_of_name(part):
                return f"the entry {entry.filename!r}: the name {part!r} {fault}"
            other = spelled.setdefault(tuple(map(same_to_some, parts[:depth])), part)
            if other != part:
                return f"the entry {entry.filename!r}: {part!r} and {other!r} are one name on Windows and macOS"
    return None
