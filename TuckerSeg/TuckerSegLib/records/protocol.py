"""What passes between an application and the worker: one JSON document per line, requests in, events out.

Imported on both sides, so it knows the standard library and the records only. A request is
``{"id": 3, "request": "segment", ...}``; an event ``{"id": 3, "event": "progress", ...}``. Every request ends with one
of ``FINAL_EVENTS``. Boxes are half open, in voxels (Z, Y, X) of the volume.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

from .statistics import RunStatistics

PROTOCOL_VERSION = 1
REQUESTS = ("describe_model", "devices", "estimate", "segment", "preview", "compare", "import_model")
# Besides, "cancel" and "shutdown", which are not answered.
FINAL_EVENTS = ("result", "error", "cancelled", "dropped")
LATEST_WINS = ("estimate", "preview")  # a newer request of these kinds makes the older ones worthless


@dataclass(frozen=True)
class VolumeFile:
    """A volume that the application wrote for the worker.

    Attributes:
        path: ``.npy`` file of (Z, Y, X).
        shape: Number of voxels, (Z, Y, X).
        affine: 4x4 matrix from voxel index (x, y, z) to RAS mm.
        name: For statistics and messages.
        key: Changes with the voxels and the affine; the worker keeps what it knows of a volume under it.
    """

    VERSION: ClassVar[int] = 1

    path: str
    shape: tuple[int, int, int]
    affine: tuple[tuple[float, ...], ...]
    name: str
    key: str


@dataclass(frozen=True)
class BoxFile:
    """Labels of a box that the worker wrote; around it, the volume is background.

    Attributes:
        path: ``.npy`` file of the box's labels, (Z, Y, X).
        lower: First voxel of the box in the volume, (Z, Y, X).
        upper: One past its last voxel.
    """

    VERSION: ClassVar[int] = 1

    path: str
    lower: tuple[int, int, int]
    upper: tuple[int, int, int]


@dataclass(frozen=True)
class PartEstimate:
    """What one network of a run would cost; see :class:`Estimate`."""

    VERSION: ClassVar[int] = 1

    name: str
    patches: int
    parameters: int
    macs_per_volume: int
    seconds: float | None


@dataclass(frozen=True)
class Estimate:
    """What a run would cost and save; ``original_*`` is the network before compression. 1 MAC = 2 FLOPs.

    Of a task of several networks, parameters, operations, patches and seconds are those of all of them together, and
    memory that of the largest: they run one after the other.

    Attributes:
        seconds, original_seconds: Of a run with a warm worker; None where this computer was not measured.
        peak_memory_bytes: Of the worker, predicted.
        free_memory_bytes: What the worker may take of that memory, what it holds already included; None where unknown.
        agreement: Mean Dice against the original network; None where it was not measured.
        agreement_source: On what it was measured.
        notes: What the user should know.
        patches_skipped: Patches of the volume that will be spared; None: not known without its voxels, so that patches,
            operations and seconds are those at most.
        cache_bytes: What the run will add to the cache of compressed and compiled networks, about.
        parts: The same per network, in the order in which they run.
    """

    VERSION: ClassVar[int] = 1

    original_parameters: int
    parameters: int
    original_macs_per_patch: int
    macs_per_patch: int
    patches: int
    original_macs_per_volume: int
    macs_per_volume: int
    original_seconds: float | None
    seconds: float | None
    peak_memory_bytes: int
    free_memory_bytes: int | None
    agreement: float | None
    agreement_source: str
    device: str
    precision: str
    notes: tuple[str, ...] = ()
    cache_bytes: int = 0
    patches_skipped: int | None = None
    parts: tuple[PartEstimate, ...] = ()

    @property
    def fits(self) -> bool:
        return self.free_memory_bytes is None or self.peak_memory_bytes <= self.free_memory_bytes


@dataclass(frozen=True)
class StructureDice:
    """How well one structure agrees with the original network's."""

    name: str
    dice: float


@dataclass(frozen=True)
class ComparisonRow:
    """One rank of a comparison.

    Attributes:
        agreement: Mean Dice against the original; None for the original itself.
        structures: Every structure that either found, the worst first.
        labels, differences: What it found, and a mask of where that differs from the original; None: nothing.
    """

    VERSION: ClassVar[int] = 1

    rank_ratio: float
    agreement: float | None
    structures: tuple[StructureDice, ...]
    labels: BoxFile | None
    differences: BoxFile | None
    statistics: RunStatistics

    @property
    def seconds(self) -> float:
        """Of the work on the volume alone: loading and compiling are done once, and would blur the comparison."""
        return sum(self.statistics.seconds.get(stage, 0.0) for stage in ("preprocess", "network", "finish"))


def request_line(number: int, request: str, /, **fields: Any) -> str:
    """A request as a line of text."""
    return json.dumps({"id": number, "request": request, **fields}) + "\n"


def event_line(number: int | None, event: str, /, **fields: Any) -> str:
    """An event as a line of text."""
    return json.dumps({"id": number, "event": event, **fields}) + "\n"


def parse_event(line: str) -> dict[str, Any] | None:
    """The event of a line; text that is none becomes a ``log`` event of no request, an empty line None."""
    if not line.strip():
        return None
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    if isinstance(event, dict) and isinstance(event.get("event"), str):
        return event
    return {"id": None, "event": "log", "message": line.strip()}
