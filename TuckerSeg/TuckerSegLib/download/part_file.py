"""A file on its way from the web, and a note beside it of what it belongs to; both survive a loss of power."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Any

from ..errors import DownloadError, OutputError
from ..files.atomic_writes import written_whole
from ..files.full_disk import is_full, room_words
from ..text_files import read_json

NOTE_BYTES = 64 * 1024
SYNC_BYTES = 8 * 1024 * 1024  # after so many, what came is made safe; a loss of power costs no more


class PartFile:
    """``target.part``, open for writing at its end.

    Only what the disk was told to keep counts when it is opened again: after a loss of power, a file may be longer
    than what was really written to it.

    Args:
        target: Where the file lies when it is whole.
        url: Where it comes from; a part of another address is thrown away.

    Attributes:
        size: Bytes that are here.
        total: Bytes of the whole file; None where the server did not say.
    """

    def __init__(self, target: Path, url: str):
        self.path = target.with_name(f"{target.name}.part")
        self.url = url
        self.size = 0
        self.total: int | None = None
        self._note_file = target.with_name(f"{target.name}.part.json")
        self._validator: str | None = None
        self._safe = 0
        self._file: FileIO | None = None

    def __enter__(self) -> PartFile:
        note = self._read_note()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "r+b" if os.path.exists(self.path) else "w+b", buffering=0)
            self._safe = self.size = min(note["safe"], os.fstat(self._file.fileno()).st_size)
            self._file.truncate(self.size)
            self._file.seek(self.size)
        except OSError as error:
            raise self._failure(error) from error
        self.total, self._validator = note["total"], note["validator"]
        return self

    def __exit__(self, *exception: Any) -> None:
        try:
            self._sync()
        finally:
            self._file.close()
        if not self.size:
            self.discard()

    def range_headers(self) -> dict[str, str]:
        """What to ask for: the rest, if the file is still the same."""
        if not self.size:
            return {}
        condition = {"If-Range": self._validator} if self._validator else {}
        return {"Range": f"bytes={self.size}-", **condition}

    def describe(self, headers: Mapping[str, str], total: int | None) -> None:
        """Take over what a server says of the file."""
        tag = headers.get("ETag", "")
        validator = tag if tag.startswith('"') else headers.get("Last-Modified")  # a weak tag proves nothing
        self._validator = validator if _is_word(validator) else None
        self.total = total
        self._sync()

    def write(self, chunk: bytes) -> None:
        """Append.

        Raises:
            DownloadError: The disk is full, or fails.
        """
        unwritten = memoryview(chunk)
        try:
            while unwritten:
                unwritten = unwritten[self._file.write(unwritten) :]
        except OSError as error:
            raise self._failure(error) from error
        self.size += len(chunk)
        if self.size - self._safe >= SYNC_BYTES:
            self._sync()

    def restart(self) -> None:
        """Forget what is here."""
        self._file.seek(0)
        self._file.truncate(0)
        self.size, self.total, self._validator = 0, None, None
        self._sync()

    def forget(self) -> None:
        """Remove the note: the file is whole and has moved to its place."""
        self._note_file.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove both."""
        self.path.unlink(missing_ok=True)
        self.forget()

    def _sync(self) -> None:
        """First the bytes, then the note that counts on them."""
        try:
            os.fsync(self._file.fileno())
            self._safe = self.size
            note = {"url": self.url, "validator": self._validator, "total": self.total, "safe": self._safe}
            with written_whole(self._note_file) as beside:
                beside.write_text(json.dumps(note), encoding="utf-8")
        except (OSError, OutputError) as error:
            raise self._failure(error) from error

    def _read_note(self) -> dict[str, Any]:
        empty = {"validator": None, "total": None, "safe": 0}
        try:
            note = read_json(self._note_file, NOTE_BYTES)
        except (OSError, ValueError):
            return empty
        sizes = (note.get("safe"), note.get("total") or 0) if isinstance(note, dict) else (None,)
        if not all(isinstance(size, int) and size >= 0 for size in sizes) or note.get("url") != self.url:
            return empty
        validator = note.get("validator")
        return {"safe": sizes[0], "total": note.get("total"), "validator": validator if _is_word(validator) else None}

    def _failure(self, error: OSError | OutputError) -> DownloadError:
        error = error if isinstance(error, OSError) else error.__cause__
        if is_full(error):
            needed = None if self.total is None else self.total - self.size
            return DownloadError(
                f"{self.path}: the disk is full. Make room and try again: what came so far is kept. "
                f"{room_words(self.path.parent, needed)}."
            )
        return DownloadError(f"{self.path} cannot be written: {error.strerror}.")


def _is_word(validator: Any) -> bool:
    """Whether it can be sent back to a server as it came."""
    return isinstance(validator, str) and validator.isascii() and validator.isprintable() and len(validator) < 1000
