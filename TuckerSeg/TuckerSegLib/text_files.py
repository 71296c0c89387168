"""Text files that are written whole or not at all, and records as tables for them."""

from __future__ import annotations

import csv
import io
import os
import tempfile
import uuid
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

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


def make_folder(folder: Path) -> Path:
    """The folder, made where it is not there.

    Raises:
        OutputError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror}.") from error
    return folder


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


def as_csv(records: Iterable[Any], kind: type) -> str:
    """Records of one dataclass as a table with a header; numbers to six digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [field.name for field in fields(kind)]
    writer.writerow(names)
    for record in records:
        values = (getattr(record, name) for name in names)
        writer.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in values])
    return text.getvalue()
