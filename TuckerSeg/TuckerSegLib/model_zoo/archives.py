"""Zip files from elsewhere, unpacked once their contents were looked at."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

from ..download import check_space
from ..errors import DownloadError, ModelFolderError
from ..files.fsync import synced_file
from ..monitor import Monitor
from ..nnunet.archives import check_archive, parts_of
from ..printable import shown

CHUNK_BYTES = 1 << 20


def unpack(
    path: Path,
    folder: Path,
    monitor: Monitor | None = None,
) -> None:
    """Unpack a zip into an empty folder; every file is on the disk when this returns.

    Args:
        monitor: Hears how many bytes are written, and is asked before each piece whether to stop.

    Raises:
        ModelFolderError: See ``check_archive``; or it is damaged.
        DownloadError: The disk is too full.
        Cancelled: The monitor said so.
    """
    files, monitor = check_archive(path), monitor or Monitor()
    total, done = sum(entry.file_size for entry in files), 0
    check_space(folder, total)
    with zipfile.ZipFile(path) as archive:
        for entry in files:
            target = folder.joinpath(*parts_of(entry))
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as source, synced_file(target) as file:
                    while chunk := source.read(CHUNK_BYTES):
                        monitor.check("Unpacking")
                        file.write(chunk)
                        done += len(chunk)
                        monitor.progress(done, total)
            except (zipfile.BadZipFile, zlib.error, EOFError, FileExistsError, RuntimeError) as error:
                raise ModelFolderError(f"{path} is damaged at {shown(entry.filename)} ({error}).") from error
            except OSError as error:
                raise DownloadError(f"{target} cannot be written: {error.strerror}.") from error
