"""What runs on this computer took, kept beside the cache, so that the next run's time can be foretold.

Knows numbers and keys only. A damaged file is an empty one, with a warning: it costs a new measurement, nothing else.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
import warnings
from pathlib import Path
from typing import Any

from ..cache import Cache
from ..errors import OutputError
from ..text_files import read_json, write_text

FILE_NAME = "measurements.json"
MOST_ENTRIES = 500  # the oldest go
LARGEST = 1e12  # of seconds, and of seconds since 1970
COUNT = re.compile("[0-9]{1,18}")  # of multiply-accumulates


class Measurements:
    """Seconds and agreements that were measured here.

    Args:
        cache: Beside whose entries they are kept; None takes the user's.
    """

    def __init__(self, cache: Cache | None = None):
        self._file: Path = (cache or Cache()).folder / FILE_NAME
        self._lock = threading.Lock()

    def patch_seconds(self, setting: str) -> dict[int, float]:
        """MACs per patch to seconds per patch, of everything that ran with a model, device and precision.

        Args:
            setting: Names them, see ``timing.setting_of``.
        """
        return {int(macs): seconds for macs, (seconds, _) in self._of("patch", setting).items()}

    def add_patch_seconds(self, setting: str, macs_per_patch: int, seconds: float) -> None:
        """Remember what a patch took."""
        self._add("patch", setting, str(macs_per_patch), seconds)

    def voxel_seconds(self, setting: str) -> float | None:
        """Seconds per million voxels (see ``timing.weighted_voxels``) beside the network; None where unknown."""
        seconds, _ = self._of("voxel", setting).get("", (None, None))
        return seconds

    def add_voxel_seconds(self, setting: str, seconds: float) -> None:
        """Remember what everything beside the network took per million voxels."""
        self._add("voxel", setting, "", seconds)

    def agreement(self, model_key: str) -> tuple[float, str] | None:
        """Mean Dice against the original network and the volume it was measured on, the newest one."""
        found = [(at, agreement, volume) for volume, (agreement, at) in self._of("agreement", model_key).items()]
        return max(found)[1:] if found else None

    def add_agreement(self, model_key: str, volume: str, agreement: float) -> None:
        """Remember how a compressed model agreed with its original on a volume."""
        self._add("agreement", model_key, volume, agreement)

    def _of(self, kind: str, key: str) -> dict[str, tuple[float, float]]:
        """Detail to value and time."""
        return {name[2]: entry for name, entry in self._read().items() if name[:2] == (kind, key)}

    def _add(self, kind: str, key: str, detail: str, value: float) -> None:
        with self._lock:
            entries = self._read()
            entries[kind, key, detail] = (value, time.time())
            newest = sorted(entries.items(), key=lambda item: -item[1][1])[:MOST_ENTRIES]
            with contextlib.suppress(OSError, OutputError):  # a read-only cache forgets
                self._file.parent.mkdir(parents=True, exist_ok=True)
                write_text(self._file, json.dumps([[*name, *entry] for name, entry in newest], indent=1))

    def _read(self) -> dict[tuple[str, str, str], tuple[float, float]]:
        """Kind, key and detail to value and time, of every entry that is whole."""
        try:
            rows = read_json(self._file)
        except OSError:
            return {}
        except ValueError:
            rows = None
        whole = [row for row in rows if _is_entry(row)] if isinstance(rows, list) else []
        if rows != whole:
            warnings.warn(f"{self._file} is damaged; what it lacks is measured again.", stacklevel=4)
        return {(kind, key, detail): (value, at) for kind, key, detail, value, at in whole}


def _is_entry(row: Any) -> bool:
    """Whether a row is one that was measured: of its kind's form, and with a value that can be."""
    if not isinstance(row, list) or len(row) != 5 or not all(isinstance(text, str) for text in row[:3]):
        return False
    kind, _, detail, value, at = row
    if any(type(number) not in (int, float) or not 0 <= number < LARGEST for number in (value, at)):  # nor NaN
        return False
    if kind == "patch":
        return COUNT.fullmatch(detail) is not None
    return kind == "voxel" or (kind == "agreement" and value <= 1)
