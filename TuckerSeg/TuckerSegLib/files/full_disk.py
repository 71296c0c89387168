"""A full disk: known by the system's number, by a library's own words, or by what is left; and told in one way.

Libraries that write files hide it well: numpy tells how many items it wrote, PyTorch of a wrong position, OpenVINO of
its stream. So an error in writing counts as a full disk, too, where nothing is free.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..errors import DiskFullError, TuckerSegError

FULL = (errno.ENOSPC, errno.EDQUOT)
_WORDS = (
    "no space left on device",
    "os error 28",
    "os error 112",
    "disk quota exceeded",
    "not enough space on the disk",
)
NOTHING_BYTES = 1 << 16  # free, where a file could not grow


def is_full(error: BaseException, folder: Path | None = None) -> bool:
    """Whether a full disk is behind an error, or behind one that it was raised from.

    Args:
        folder: That is written in, while what was written is still there; None where it is not known.
    """
    for each in _chain(error):
        if isinstance(each, OSError) and each.errno in FULL:
            return True
        if any(words in str(each).lower() for words in _WORDS):
            return True
    vague = isinstance(error, RuntimeError) or (isinstance(error, OSError) and error.errno is None)
    return vague and folder is not None and (free_bytes(folder) or 0) < NOTHING_BYTES


def full_disk_words(folder: Path, needed_bytes: int | None = None) -> str:
    """``the disk is full, 5 MB are free in /data; 90 MB are needed``."""
    return f"the disk is full, {room_words(folder, needed_bytes)}"


def room_words(folder: Path, needed_bytes: int | None = None) -> str:
    """``5 MB are free in /data; 90 MB are needed``."""
    free = free_bytes(folder)
    known = f"of {folder}" if free is None else f"{free / 1e6:.0f} MB are free in {folder}"
    needed = "more are needed" if needed_bytes is None else f"{needed_bytes / 1e6:.0f} MB are needed"
    return f"{known}; {needed}"


def with_full_disk_named(error: Exception) -> Exception:
    """An error for a user, who is told of a full disk wherever nobody has told of it before."""
    if isinstance(error, TuckerSegError) or not is_full(error):
        return error
    paths = (each.filename for each in _chain(error) if isinstance(each, OSError))
    place = next((Path(os.fsdecode(path)) for path in paths if isinstance(path, (str, bytes))), None)
    folder = Path(tempfile.gettempdir()) if place is None else place.parent
    words = full_disk_words(folder)
    return DiskFullError(f"{words[0].upper()}{words[1:]}. Make space on it and try again.")


def free_bytes(folder: Path) -> int | None:
    """What is free for files in a folder, or in the nearest one above it that is there; None where nobody knows."""
    for place in (folder, *folder.parents):
        with suppress(OSError):
            return shutil.disk_usage(place).free
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
