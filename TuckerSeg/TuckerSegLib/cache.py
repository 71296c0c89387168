"""Files that are dear to make, kept between runs: compressed models, decompositions, calibrations, compiled
networks.

Knows folders, keys, sizes and ages; not what the files hold. Every entry is written beside its place and
renamed, so another process sees either nothing or a whole file. Callers check what they read and call
:meth:`Cache.discard` for what is damaged.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import OutputError, SpecError
from .text_files import read_json

LAYOUT_VERSION = 1
DEFAULT_LIMIT_BYTES = 10 * 1024**3
LEFTOVER_SECONDS = 86400  # no write takes a day
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


class Cache:
    """A folder of entries with a size limit; the least recently used go first.

    Args:
        folder: Where; None takes :func:`default_folder`.
        limit_bytes: Size limit; None takes ``TUCKERSEG_CACHE_LIMIT_GB`` or 10 GB.
    """

    def __init__(self, folder: Path | None = None, limit_bytes: int | None = None):
        self.folder = (folder or default_folder()) / f"v{LAYOUT_VERSION}"
        self.limit_bytes = _limit_from_environment() if limit_bytes is None else limit_bytes

    def path(self, kind: str, key: str) -> Path:
        return self.folder / kind / f"{key}{KINDS[kind]}"

    def find(self, kind: str, key: str) -> Path | None:
        """Path of an entry, marked as used now; None where there is none."""
        path = self.path(kind, key)
        if not path.exists():
            return None
        with contextlib.suppress(OSError):  # a read-only cache still serves
            os.utime(path)
        return path

    def store(self, kind: str, key: str, write: Callable[[Path], None]) -> Path | None:
        """Let ``write(path)`` make a file beside its place, then move it there and keep the limit.

        Returns:
            The entry, or None where the cache cannot be written (full disk, read-only folder): a run goes on
            without its cache.
        """
        path = self.path(kind, key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{key}-", dir=path.parent)
        except OSError:
            return None
        os.close(handle)
        try:
            write(Path(name))
            os.replace(name, path)
        except (OSError, OutputError):
            return None
        finally:
            Path(name).unlink(missing_ok=True)
        self.keep_limit(spare=path)
        return path

    def compiled_folder(self, key: str) -> Path:
        """Folder in which a backend keeps the compiled forms of one model, marked as used now if it is there."""
        return self.find("compiled", key) or self.path("compiled", key)

    def discard(self, kind: str, key: str) -> None:
        """Remove an entry, if it is there."""
        _remove(self.path(kind, key))

    def entries(self) -> list[CacheEntry]:
        """All entries, the most recently used first."""
        return sorted(self._entries(hidden=False), key=lambda entry: -entry.used_at)

    def clear(self) -> int:
        """Remove everything; returns the bytes that were freed."""
        entries = [*self.entries(), *self._leftovers()]
        for entry in entries:
            _remove(entry.path)
        for file in self.folder.glob("*.json"):  # what was remembered of sources and runs
            _remove(file)
        return sum(entry.size_bytes for entry in entries if not entry.path.exists())

    def keep_limit(self, spare: Path | None = None) -> None:
        """Remove the least recently used entries until the limit holds; ``spare`` is kept in any case."""
        for entry in self._leftovers():
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

    def sha256_of_files(self, files: Sequence[Path], compute: Callable[[], str]) -> str:
        """``compute()``, remembered for as long as the files keep their size and modification time."""
        stamps = [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
        key = key_of(files=stamps)
        memo = self._read_memo()
        if key not in memo:
            memo[key] = {"sha256": compute(), "files": [stamp[0] for stamp in stamps], "at": time.time()}
            self._write_memo(memo)
        return memo[key]["sha256"]

    @property
    def _memo_file(self) -> Path:
        return self.folder / "sources.json"

    def _read_memo(self) -> dict[str, dict[str, Any]]:
        try:
            memo = read_json(self._memo_file)
            return {key: value for key, value in memo.items() if isinstance(value.get("sha256"), str)}
        except (OSError, ValueError, AttributeError):
            return {}

    def _write_memo(self, memo: dict[str, dict[str, Any]]) -> None:
        newest = dict(sorted(memo.items(), key=lambda item: -item[1].get("at", 0))[:200])
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            beside = self._memo_file.with_suffix(f".{os.getpid()}")
            beside.write_text(json.dumps(newest, indent=1), encoding="utf-8")
            os.replace(beside, self._memo_file)

    def _leftovers(self) -> list[CacheEntry]:
        """Files that are being written, or that a killed process left half-written."""
        return self._entries(hidden=True)

    def _entries(self, hidden: bool) -> list[CacheEntry]:
        found = [_entry(kind, path) for kind in KINDS for path in self._paths(kind, hidden)]
        return [entry for entry in found if entry]

    def _paths(self, kind: str, hidden: bool) -> Iterator[Path]:
        with contextlib.suppress(OSError):  # not there yet, or not to be read
            yield from (path for path in (self.folder / kind).iterdir() if path.name.startswith(".") == hidden)


def _entry(kind: str, path: Path) -> CacheEntry | None:
    """None where another process has just removed it."""
    try:
        files = [path, *path.rglob("*")] if path.is_dir() else [path]
        stats = [file.stat() for file in files]
    except OSError:
        return None
    size = sum(stat.st_size for file, stat in zip(files, stats, strict=True) if not file.is_dir())
    return CacheEntry(kind, path.name.removesuffix(KINDS[kind]), path, size, max(stat.st_mtime for stat in stats))


def _remove(path: Path) -> None:
    if path.is_dir():
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
