"""Pointers of Git LFS: what lies in place of a large file where a repository was copied without it."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

_BEGINNING = b"version https://git-lfs.github.com/spec/"
_DAMAGES = (OSError, ValueError, RuntimeError, EOFError, KeyError, zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error)


def lfs_pointer(file: Path | zipfile.Path) -> str | None:
    """Say that a file is a pointer of Git LFS, and what to do.

    Args:
        file: On disk or within a zip.

    Returns:
        A clause, to follow the file's name; None where it is no pointer or cannot be read.
    """
    try:
        with file.open("rb") as stream:
            beginning = stream.read(len(_BEGINNING))
    except _DAMAGES:  # told by whoever reads the file itself
        return None
    if beginning != _BEGINNING:
        return None
    return "is a pointer of Git LFS and not the file itself. Run 'git lfs pull' there, or download the file itself."
