"""Files that are dear to make, kept between runs: compressed models, what was made for them, calibrations, compiled
networks.

Knows folders, keys, sizes and ages; not what the files hold. Every entry is written beside its place and
renamed, so another process sees either nothing or a whole file.

What keeps the cache honest:

- A key is a digest of all that decides what lies under it: of weights and plans that were read and checked here, never
  of what a file says of itself. ARCHITECTURE.md lists what each kind's keys cover.
- An entry says under which key it was stored (:func:`entry_name`) and carries a checksum. Whoever reads it checks both,
  and calls :meth:`Cache.discard` with a warning for what is damaged, or lies under another entry's name.
- Keys are hexadecimal digests. A file of any other name is none of the cache's: it is neither used nor removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import OutputError, SpecError
from .file_digests import DigestMemo
from .files.atomic_writes import written_whole
from .files.leftovers import Leftover, is_temporary, leftovers, sweep
from .printable import excerpt

LAYOUT_VERSION = 1
DEFAULT_LIMIT_BYTES = 10 * 1024**3
LEFTOVER_SECONDS = 86400  # no write takes a day
KEY = re.compile("[0-9a-f]{32}")
KINDS = {"models": ".tuckerseg", "bases": ".safetensors", "calibrations": ".safetensors", "compiled": ""}


@dataclass(frozen=True)
class CacheEntry:
    """One file (or folder) of the cache: its kind, key, size in bytes, and last use in seconds since 1970."""

    kind: str
    key: str
    path: Path
    size_bytes: int
    used_at: float


def default_folder() -> Path:
    """``TUCKERSEG_CACHE_DIR``, else the platform's folder for caches."""
    if named := os.environ.get("TUCKERSEG_CACHE_DIR"):
        return Path(named).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "TuckerSeg" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "TuckerSeg"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tuckerseg"


def key_of(**facts: Any) -> str:
    """A short key that changes with any of the facts (JSON types)."""
    text = json.dumps({"layout": LAYOUT_VERSION, **facts}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def entry_name(kind: str, key: str) -> str:
    """What an entry says of itself, so that another's file in its place is seen."""
    return f"{kind}/{key}"


class Cache:
    """A folder of entries with a size limit; the least recently used go first.

    Args:
        folder: Where; None takes :func:`default_folder`.
        limit_bytes: Size limit; None takes ``TUCKERSEG_CACHE_LIMIT_GB`` or 10 GB.

    Example:
        >>> cache = Cache(Path("CACHE_FOLDER"), limit_bytes=2 * 10**9)
        >>> model = load_model("MODEL_FOLDER_OR_ZIP", cache=cache)
        >>> [(entry.kind, entry.size_bytes) for entry in cache.entries()]
    """

    def __init__(self, folder: Path | None = None, limit_bytes: int | None = None):
        self.folder = (folder or default_folder()) / f"v{LAYOUT_VERSION}"
        self.limit_bytes = _limit_from_environment() if limit_bytes is None else limit_bytes

    def path(self, kind: str, key: str) -> Path:
        """Where an entry lies, or would.

        Args:
            kind: What it is: ``models``, ``bases``, ``calibrations`` or ``compiled``.
            key: 32 hexadecimal digits that cover all that decides its content.

        Raises:
            SpecError: The key is not one of :func:`key_of`.
        """
        if not KEY.fullmatch(key):
            raise SpecError(f"A key of the cache should be 32 hexadecimal digits; found {excerpt(repr(key))}.")
        return self.folder / kind / f"{key}{KINDS[kind]}"

    def find(self, kind: str, key: str) -> Path | None:
        """Path of an entry, marked as used now; None where there is none.

        Args:
            kind: What it is: ``models``, ``bases``, ``calibrations`` or ``compiled``.
            key: 32 hexadecimal digits that cover all that decides its content.

        Raises:
            SpecError: The key is not one.
        """
        path = self.path(kind, key)
        if not os.path.exists(path):
            return None
        with contextlib.suppress(OSError):  # a read-only cache still serves
            os.utime(path)
        return path

    def store(self, kind: str, key: str, write: Callable[[Path], None]) -> Path | None:
        """Let a function make a file beside its place, then move it there and keep the limit.

        Args:
            kind: What it is: ``models``, ``bases``, ``calibrations`` or ``compiled``.
            key: 32 hexadecimal digits that cover all that decides its content.
            write: Is given a path, and writes the file there.

        Returns:
            The entry, or None where the cache cannot be written (full disk, read-only folder): a run goes on
            without its cache.

        Raises:
            SpecError: The key is not one.
        """
        path = self.path(kind, key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(path) as beside:
                write(beside)
        except (OSError, OutputError):
            return None
        self.keep_limit(spare=path)
        return path

    def require_writable(self) -> None:
        """Find out before long work whether what it gives can be kept. Leaves nothing behind.

        Raises:
            OutputError: The folder cannot be made or written; the message says which, and why.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise self.unwritable(error.strerror or str(error)) from error

    def unwritable(self, reason: str) -> OutputError:
        """The error where something must be kept and cannot be."""
        return OutputError(
            f"{self.folder}: the cache cannot be written ({reason}), so nothing would be kept. Make it writable, or "
            "name another folder in TUCKERSEG_CACHE_DIR."
        )

    def compiled_folder(self, key: str) -> Path:
        """Folder in which a backend keeps the compiled forms of one model, marked as used now if it is there."""
        return self.find("compiled", key) or self.path("compiled", key)

    def discard(self, kind: str, key: str) -> None:
        """Remove an entry, if it is there.

        Args:
            kind: What it is: ``models``, ``bases``, ``calibrations`` or ``compiled``.
            key: 32 hexadecimal digits that cover all that decides its content.

        Raises:
            SpecError: The key is not one.
        """
        _remove(self.path(kind, key))

    def entries(self) -> list[CacheEntry]:
        """All entries, the most recently used first."""
        entries = [_entry(kind, path) for kind in KINDS for path in _paths(self.folder / kind) if _is_entry(kind, path)]
        return sorted((entry for entry in entries if entry), key=lambda entry: -entry.used_at)

    def clear(self) -> int:
        """Remove everything but what another process is writing; returns the bytes that were freed."""
        freed = sum(map(sweep, self._places()))
        entries = [*self.entries(), *self.leftovers()]
        for entry in entries:
            _remove(entry.path)
        for file in self.folder.glob("*.json"):  # what was remembered of sources and runs
            _remove(file)
        return freed + sum(entry.size_bytes for entry in entries if not os.path.exists(entry.path))

    def keep_limit(self, spare: Path | None = None) -> None:
        """Remove the least recently used entries until the limit holds; ``spare`` is kept in any case."""
        for place in self._places():
            sweep(place)
        for entry in self.leftovers():
            if time.time() - entry.used_at > LEFTOVER_SECONDS:
                _remove(entry.path)
        entries = self.entries()
        total = sum(entry.size_bytes for entry in entries)
        for entry in reversed(entries):
            if total <= self.limit_bytes:
                return
            if entry.path != spare:
                _remove(entry.path)
                total -= entry.size_bytes

    def sha256_of_files(self, files: Sequence[Path], compute: Callable[[], str], members: Sequence[str] = ()) -> str:
        """``compute()``, a SHA-256 over the files, remembered for as long as they stay as they are.

        Args:
            members: Of an archive, where it is a SHA-256 over these alone.
        """
        return DigestMemo(self.folder / "sources.json").get(files, compute, members)

    def unfinished(self) -> list[Leftover]:
        """What is being written, or was when its process was killed."""
        return [leftover for place in self._places() for leftover in leftovers(place)]

    def _places(self) -> list[Path]:
        """Folders in which files are written."""
        kinds = [self.folder / kind for kind in KINDS]
        return [
            self.folder,
            *kinds,
            *(path for path in _paths(self.folder / "compiled") if _is_entry("compiled", path)),
        ]

    def leftovers(self) -> list[CacheEntry]:
        """Half-written files under names of earlier versions."""
        entries = [_entry(kind, path) for kind in KINDS for path in _paths(self.folder / kind) if _is_hidden(path)]
        for folder in _paths(self.folder / "compiled"):
            if os.path.isdir(folder) and not _is_hidden(folder):
                entries += [_entry("compiled", path) for path in _paths(folder) if _is_hidden(path)]
        notes = [path for path in _paths(self.folder) if _is_hidden(path) or path.suffix[1:].isdigit()]
        entries += [_entry("notes", path) for path in notes if os.path.isfile(path)]
        return [entry for entry in entries if entry]


def _paths(folder: Path) -> list[Path]:
    """Of a folder; none where it is not there yet, or not to be read."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".") and not is_temporary(path)


def _is_entry(kind: str, path: Path) -> bool:
    suffix = KINDS[kind]
    return path.name.endswith(suffix) and KEY.fullmatch(path.name.removesuffix(suffix)) is not None


def _entry(kind: str, path: Path) -> CacheEntry | None:
    """None where another process has just removed it."""
    try:
        files = [path, *path.rglob("*")] if os.path.isdir(path) else [path]
        stats = [file.stat() for file in files]
    except OSError:
        return None
    size = sum(stat.st_size for file, stat in zip(files, stats, strict=True) if not os.path.isdir(file))
    return CacheEntry(
        kind, path.name.removesuffix(KINDS.get(kind, "")), path, size, max(stat.st_mtime for stat in stats)
    )


def _remove(path: Path) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):  # in use by another process on Windows, or gone already
            path.unlink(missing_ok=True)


def _limit_from_environment() -> int:
    text = os.environ.get("TUCKERSEG_CACHE_LIMIT_GB")
    if text is None:
        return DEFAULT_LIMIT_BYTES
    try:
        return int(float(text) * 1024**3)
    except ValueError:
        raise SpecError(f"TUCKERSEG_CACHE_LIMIT_GB should be a number of gigabytes; found '{text}'.") from None
