"""Text files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
import uuid
from pathlib import Path

from .errors import OutputError


def check_writable(path: str | os.PathLike) -> None:
    """Fail before the work, not after it.

    Raises:
        OutputError: Nothing can be written in the file's folder.
    """
    folder = Path(path).absolute().parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"{path} cannot be written in {folder}: {error.strerror}.") from error


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a file beside its place and move it there; an older one stays until then.

    Raises:
        OutputError: It cannot be written.
    """
    beside = Path(path).absolute().with_name(f".{uuid.uuid4().hex}.partial")
    try:
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        beside.unlink(missing_ok=True)
