"""Times and agreements that were measured on this computer, kept beside the cache, to predict those of later runs.

Knows numbers and keys only. Damaged entries are left out with a warning, and measured again.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .cache import Cache
from .errors import OutputError
from .text_files import read_json, write_text

FILE_NAME = "measurements.json"
MOST_ENTRIES = 500  # the oldest go
LARGEST = 1e12  # of seconds, and of seconds since 1970
COUNT = re.compile("[0-9]{1,18}")  # of multiply-accumulates


class Measurements:
    """The measurements of this computer, in a file that several threads may use.

    Args:
        cache: The cache whose folder holds the file; None takes the user's cache.
    """

    def __init__(self, cache: Cache | None = None):
        self._file: Path = (cache or Cache()).folder / FILE_NAME
        self._lock = threading.Lock()

    def patch_seconds(self, setting: str) -> dict[int, float]:
        """Measured times of a model's compressed forms on one device.

        Args:
            setting: Model, device and settings, from ``timing.setting_of``.

        Returns:
            MACs per patch to seconds per patch.
        """
        return {int(macs): seconds for macs, (seconds, _) in self._entries("patch", setting).items()}

    def add_patch_seconds(self, setting: str, macs_per_patch: int, seconds: float) -> None:
        """Store the seconds of a patch, in place of an earlier measurement at as many MACs."""
        self._add("patch", setting, str(macs_per_patch), seconds)

    def voxel_seconds(self, setting: str) -> float | None:
        """Seconds of all work beside the network per million of ``timing.weighted_voxels``; None where unknown."""
        seconds, _ = self._entries("voxel", setting).get("", (None, None))
        return seconds

    def add_voxel_seconds(self, setting: str, seconds: float) -> None:
        """Store the seconds per million voxels of everything beside the network."""
        self._add("voxel", setting, "", seconds)

    def first_use_ratio(self, setting: str) -> float | None:
        """How many times its usual seconds a first use took here; None where there was none.

        Args:
            setting: Processor, precision of the passes and threads, as ``estimation.first_use`` names them.
        """
        ratio, _ = self._entries("first use", setting).get("", (None, None))
        return ratio

    def add_first_use_ratio(self, setting: str, ratio: float) -> None:
        """Store how many times its usual seconds a first use took."""
        self._add("first use", setting, "", ratio)

    def layer_seconds(self, setting: str) -> dict[str, float]:
        """Seconds per unit of work of layers on one device, see ``records.layer_times``; none where never measured.

        Args:
            setting: Device and settings, from ``layer_times.measured.setting_of``.
        """
        return {term: seconds for term, (seconds, _) in self._entries("layer", setting).items()}

    def add_layer_seconds(self, setting: str, seconds: dict[str, float]) -> None:
        """Store the seconds per unit of work of layers on one device, one per term."""
        self._add_all("layer", setting, seconds)

    def answer_macs(self, question: str) -> float | None:
        """MACs per patch of the network that an earlier question to the allocator gave; None where there was none."""
        gmacs, _ = self._entries("answer", question).get("", (None, None))
        return gmacs and gmacs * 1e9

    def add_answer_macs(self, question: str, macs_per_patch: int) -> None:
        """Store the MACs per patch of what a question to the allocator gave; see ``allocation_question``."""
        self._add("answer", question, "", macs_per_patch / 1e9)

    def answer_shares(self, question: str) -> tuple[float, float] | None:
        """Share of the original's time of what an earlier question gave, predicted and measured; None: not known."""
        entries = self._entries("answer", question)
        shares = [entries[detail][0] for detail in ("predicted", "measured") if detail in entries]
        return tuple(shares) if len(shares) == 2 else None

    def add_answer_shares(self, question: str, predicted: float, measured: float) -> None:
        """Store the shares of the original's time that what a question gave was predicted and measured to take."""
        self._add_all("answer", question, {"predicted": predicted, "measured": measured})

    def corrections(self, question: str) -> dict[str, float] | None:
        """What prices of means of compression were found to be off by, see ``models.timed_choice``; None: not known."""
        entries = self._entries("answer", question)
        if "corrected" not in entries:
            return None
        return {detail.split()[1]: factor for detail, (factor, _) in entries.items() if detail.startswith("means ")}

    def add_corrections(self, question: str, factors: Mapping[str, float]) -> None:
        """Store what prices of means are off by, none where all are right."""
        self._add_all(
            "answer", question, {"corrected": 1.0} | {f"means {name}": each for name, each in factors.items()}
        )

    def agreement(self, model_key: str) -> tuple[float, str] | None:
        """The newest measured agreement of a compressed model with its original.

        Args:
            model_key: Of the compressed model, see ``SegmentationModel.key``.

        Returns:
            Mean Dice, and the name of the volume; None where it was not measured.
        """
        entries = self._entries("agreement", model_key)
        newest_last = sorted((time_s, agreement, volume) for volume, (agreement, time_s) in entries.items())
        return newest_last[-1][1:] if newest_last else None

    def add_agreement(self, model_key: str, volume: str, agreement: float) -> None:
        """Store the mean Dice of a compressed model against its original on a volume."""
        self._add("agreement", model_key, volume, agreement)

    def _entries(self, kind: str, key: str) -> dict[str, tuple[float, float]]:
        """Entries of one kind and key: detail to value and time."""
        return {name[2]: entry for name, entry in self._read().items() if name[:2] == (kind, key)}

    def _add(self, kind: str, key: str, detail: str, value: float) -> None:
        self._add_all(kind, key, {detail: value})

    def _add_all(self, kind: str, key: str, values: dict[str, float]) -> None:
        with self._lock:
            entries, now = self._read(), time.time()
            entries |= {(kind, key, detail): (value, now) for detail, value in values.items()}
            newest = sorted(entries.items(), key=lambda item: -item[1][1])[:MOST_ENTRIES]
            with contextlib.suppress(OSError, OutputError):  # a read-only cache forgets
                self._file.parent.mkdir(parents=True, exist_ok=True)
                write_text(self._file, json.dumps([[*name, *entry] for name, entry in newest], indent=1))

    def _read(self) -> dict[tuple[str, str, str], tuple[float, float]]:
        """All valid entries: kind, key and detail to value and time."""
        try:
            rows = read_json(self._file)
        except OSError:
            return {}
        except ValueError:
            rows = None
        valid = [row for row in rows if _is_valid(row)] if isinstance(rows, list) else []
        if rows != valid:
            warnings.warn(f"{self._file} is damaged; what it lacks is measured again.", stacklevel=4)
        return {(kind, key, detail): (value, time_s) for kind, key, detail, value, time_s in valid}


def _is_valid(row: Any) -> bool:
    """Whether a row has the form of its kind, and a value in its range."""
    if not isinstance(row, list) or len(row) != 5 or not all(isinstance(text, str) for text in row[:3]):
        return False
    kind, _, detail, value, time_s = row
    if any(type(number) not in (int, float) or not 0 <= number < LARGEST for number in (value, time_s)):  # nor NaN
        return False
    if kind == "patch":
        return COUNT.fullmatch(detail) is not None
    return kind in ("voxel", "layer", "answer", "first use") or (kind == "agreement" and value <= 1)
