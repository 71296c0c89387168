"""Zip files from elsewhere, unpacked without letting them do harm: no entry leaves the folder, none is a link, and
what comes out is not out of proportion."""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from ..errors import Cancelled, DownloadError, ModelFolderError
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
    files = [entry for entry in entries if not entry.is_dir() and not set(JUNK) & set(_parts(entry))]
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
                with archive.open(entry) as source, open(target, "xb") as file:
                    while chunk := source.read(CHUNK_BYTES):
                        if cancelled():
                            raise Cancelled("Unpacking was cancelled.")
                        file.write(chunk)
                        done += len(chunk)
                        progress(done, total)
                    file.flush()
                    os.fsync(file.fileno())
            except (zipfile.BadZipFile, zlib.error, EOFError, FileExistsError, RuntimeError) as error:
                raise ModelFolderError(f"{path} is damaged at {entry.filename!r} ({error}).") from error
            except OSError as error:
                raise DownloadError(f"{target} cannot be written: {error.strerror}.") from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder safe against a loss of power, where the system can."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
