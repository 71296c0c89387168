"""Digests of files, remembered for as long as the files stay as they are.

A file counts as unchanged while its path, size, times and place on the disk (inode) are the same. The time of change is
the system's own: whoever edits a file in place, or puts another in its place, and sets the time of modification back,
changes it all the same. (Windows keeps none; there the others have to do.) Knows nothing of what the files hold.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .errors import OutputError
from .text_files import read_json, write_text

MOST_REMEMBERED = 200
CLOCK_TICK_S = 0.02  # times of files go in ticks of up to 10 ms: two changes within one cannot be told apart


def stamp_of(file: Path) -> list[Any]:
    """What changes whenever a file does, as JSON: its path, size, times and place on the disk. Reads nothing of it."""
    stat = file.stat()
    return [str(file.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


class DigestMemo:
    """Digests in a JSON file. A damaged one costs time, and nothing else.

    Args:
        file: Where; it and its folder need not be there.
    """

    def __init__(self, file: Path):
        self._file = file

    def get(self, files: Sequence[Path], compute: Callable[[], str], members: Sequence[str] = ()) -> str:
        """``compute()``, a SHA-256 over all of the files, or what it gave when they were the same as now.

        Args:
            members: Of an archive, where it is a SHA-256 over these alone.
        """
        _let_the_clock_go_on(files)
        stamps = [stamp_of(file) for file in files]
        name = _sha256_of([*stamps, list(members)] if members else stamps)
        entry_before = self._read().get(name)
        if entry_before is not None:
            return entry_before["sha256"]
        digest = compute()
        if stamps == [stamp_of(file) for file in files]:  # they stayed so while it was read
            entry = {"sha256": digest, "files": [stamp[0] for stamp in stamps], "at": time.time()}
            self._write(self._read() | {name: {**entry, "check": _check_of(name, digest)}})
        return digest

    def _read(self) -> dict[str, dict[str, Any]]:
        """Every entry that is whole; that others are not is told."""
        try:
            memo = read_json(self._file)
        except OSError:
            return {}
        except ValueError:
            memo = ""
        entries = memo if isinstance(memo, dict) else {"": memo}
        whole = {name: entry for name, entry in entries.items() if _is_whole(name, entry)}
        if not all(name in whole or _is_early(entry) for name, entry in entries.items()):
            warnings.warn(f"{self._file} is damaged; what it lacks is made again.", stacklevel=4)
        return whole

    def _write(self, memo: dict[str, dict[str, Any]]) -> None:
        newest = dict(sorted(memo.items(), key=lambda item: -item[1]["at"])[:MOST_REMEMBERED])
        with contextlib.suppress(OSError, OutputError):  # a read-only folder remembers nothing
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_text(self._file, json.dumps(newest, indent=1))


def _let_the_clock_go_on(files: Sequence[Path]) -> None:
    """Wait where a file has just been changed, so that a change after this one has another time."""
    changed_at = max((file.stat().st_ctime for file in files), default=0.0)
    if abs(time.time() - changed_at) < CLOCK_TICK_S:
        time.sleep(CLOCK_TICK_S)


def _is_early(entry: Any) -> bool:
    """Whether an entry was written before entries had a check; it is passed over."""
    return isinstance(entry, dict) and entry.keys() == {"sha256", "files", "at"} and isinstance(entry["at"], float)


def _is_whole(name: str, entry: Any) -> bool:
    """Whether an entry is as it was written: under its own name, and with the digest that belongs there."""
    if not isinstance(entry, dict) or type(entry.get("at")) not in (int, float) or not _is_finite(entry["at"]):
        return False
    return isinstance(entry.get("sha256"), str) and entry.get("check") == _check_of(name, entry["sha256"])


def _is_finite(number: float) -> bool:
    return -1e18 < number < 1e18 and not math.isnan(number)


def _check_of(name: str, sha256: str) -> str:
    return _sha256_of([name, sha256])


def _sha256_of(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
