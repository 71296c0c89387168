"""Text files: written whole or not at all, read as JSON within bounds, and records as tables for them."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from .errors import OutputError, TuckerSegError
from .files.atomic_writes import written_whole
from .printable import shown

# What spreadsheets compute; the wide ones are those of Japanese and Chinese.
FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
MOST_JSON_BYTES = 16 * 1024 * 1024
MOST_JSON_DEPTH = 60  # a sixth of it is used


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
    """Write a file in UTF-8, whole or not at all, see ``files.atomic_writes``; lines end as the text says.

    Half a surrogate pair, which a name out of a JSON file can have and UTF-8 cannot, becomes its escape.

    Raises:
        OutputError: It cannot be written.
    """
    content = text.encode("utf-8", "backslashreplace")
    with written_whole(path, len(content)) as beside:
        beside.write_bytes(content)


def read_json(path: str | os.PathLike, most_bytes: int = MOST_JSON_BYTES) -> Any:
    """The document in a file.

    Raises:
        ValueError: It is no JSON, too large, or nested too deeply; the message says which, without the file's name.
        OSError: It cannot be read.
    """
    with Path(path).open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"it has more than {most_bytes / 1e6:.0f} MB, which no such file has")
    return parse_json(content)


def parse_json(content: str | bytes) -> Any:
    """The document in a text; bytes are UTF-8.

    Raises:
        ValueError: It is no JSON, or nested too deeply; the message says which.
    """
    try:
        document = json.loads(content.decode("utf-8-sig") if isinstance(content, bytes) else content)
    except RecursionError:
        raise ValueError(f"it is nested deeper than {MOST_JSON_DEPTH} levels") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no UTF-8 text (byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON: {error}") from error
    level = [document]
    for _ in range(MOST_JSON_DEPTH):
        level = [child for item in level for child in _children(item)]
        if not level:
            return document
    raise ValueError(f"it is nested deeper than {MOST_JSON_DEPTH} levels")


def parse_object(content: str | bytes, where: str, error: type[TuckerSegError]) -> dict[str, Any]:
    """The JSON object in a text.

    Args:
        where: Names the file in messages.

    Raises:
        ``error``: See :func:`parse_json`, or it is something else than an object.
    """
    try:
        document = parse_json(content)
    except ValueError as problem:
        raise error(f"{where} is not valid JSON: {problem}.") from problem
    if not isinstance(document, dict):
        raise error(f"{where} should hold a JSON object; found {shown(document)}.")
    return document


def as_csv(records: Iterable[Any], kind: type) -> str:
    """Records of one dataclass as a table with a header, see :func:`csv_text`."""
    names = [field.name for field in fields(kind)]
    return csv_text([names, *([getattr(record, name) for name in names] for record in records)])


def csv_text(rows: Iterable[Iterable[Any]], delimiter: str = ",", digits: int | None = 6) -> str:
    """Rows as a table for spreadsheets, none of whose texts is taken for a formula: such a one begins with ``'``.

    Args:
        digits: Of numbers with fractions; None: all.
    """
    return "".join(_csv_line([_cell(value, digits) for value in row], delimiter) for row in rows)


def _csv_line(cells: list[Any], delimiter: str) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerow(cells)  # quotes cells with either of them
    return text.getvalue().removesuffix("\r\n") + "\n"


def _cell(value: Any, digits: int | None) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return f"{value:.{digits}g}" if isinstance(value, float) and digits else value
    text = str(value)
    return f"'{text}" if text.lstrip(" '\xa0").startswith(FORMULA_BEGINS) else text


def _children(item: Any) -> list[Any]:
    """What is inside, where that may hold something itself."""
    inside = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
    return [child for child in inside if isinstance(child, (dict, list))]
