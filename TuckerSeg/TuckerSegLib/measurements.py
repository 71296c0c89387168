"""What runs on this computer took, kept beside the cache, so that the next run's time can be foretold.

Knows numbers and keys only. A damaged file is an empty one: it costs a new measurement, nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

from .cache import Cache

FILE_NAME = "measurements.json"
MOST_ENTRIES = 500  # of each kind; the oldest go


class Measurements:
    """Seconds and agreements that were measured here.

    Args:
        cache: Beside whose entries they are kept; None takes the user's.
    """

    def __init__(self, cache: Cache | None = None):
        self._file: Path = (cache or Cache()).folder / FILE_NAME

    def patch_seconds(self, setting: str) -> dict[int, float]:
        """MACs per patch to seconds per patch, of everything that ran with a model, device and precision.

        Args:
            setting: Names them, see ``estimate.setting_of``.
        """
        return {int(macs): entry["value"] for macs, entry in self._of("patch", setting).items()}

    def add_patch_seconds(self, setting: str, macs_per_patch: int, seconds: float) -> None:
        """Remember what a patch took."""
        self._add("patch", setting, str(macs_per_patch), seconds)

    def voxel_seconds(self, device: str) -> float | None:
        """Seconds per million voxels that a device's computer needs beside the network; None where unknown."""
        return self._of("voxel", device).get("", {}).get("value")

    def add_voxel_seconds(self, device: str, seconds: float) -> None:
        """Remember what everything beside the network took per million voxels."""
        self._add("voxel", device, "", seconds)

    def agreement(self, model_key: str) -> tuple[float, str] | None:
        """Mean Dice against the original network and the volume it was measured on, the newest one."""
        found = sorted(self._of("agreement", model_key).items(), key=lambda item: item[1].get("at", 0))
        return (found[-1][1]["value"], found[-1][0]) if found else None

    def add_agreement(self, model_key: str, volume: str, agreement: float) -> None:
        """Remember how a compressed model agreed with its original on a volume."""
        self._add("agreement", model_key, volume, agreement)

    def _of(self, kind: str, key: str) -> dict[str, dict[str, Any]]:
        prefix = f"{kind}|{key}|"
        return {name.removeprefix(prefix): entry for name, entry in self._read().items() if name.startswith(prefix)}

    def _add(self, kind: str, key: str, detail: str, value: float) -> None:
        document = self._read()
        document[f"{kind}|{key}|{detail}"] = {"value": value, "at": time.time()}
        newest = dict(sorted(document.items(), key=lambda item: -item[1]["at"])[:MOST_ENTRIES])
        with contextlib.suppress(OSError):  # a read-only cache forgets
            self._file.parent.mkdir(parents=True, exist_ok=True)
            beside = self._file.with_suffix(f".{os.getpid()}")
            beside.write_text(json.dumps(newest, indent=1), encoding="utf-8")
            os.replace(beside, self._file)

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            document = json.loads(self._file.read_text(encoding="utf-8"))
            return {
                name: entry
                for name, entry in document.items()
                if isinstance(entry["value"], (int, float)) and isinstance(entry["at"], (int, float))
            }
        except (OSError, ValueError, AttributeError, KeyError, TypeError):
            return {}
