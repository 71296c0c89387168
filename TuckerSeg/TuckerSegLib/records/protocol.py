"""What passes between an application and the worker: one JSON document per line, requests in, events out.

Imported on both sides, so it knows the standard library and the records only. A request is
``{"id": 3, "request": "segment", ...}``; an event ``{"id": 3, "event": "progress", ...}``. Every request ends with one
of ``FINAL_EVENTS``. Boxes are half open, in voxels (Z, Y, X) of the volume.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

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
