"""What passes between an application and the worker: one JSON document per line, requests in, events out.

Imported on both sides, so it knows the standard library and the records only. A request is
``{"id": 3, "request": "segment", ...}``; an event ``{"id": 3, "event": "progress", ...}``. Every request ends with one
of ``FINAL_EVENTS``. Boxes are half open, in voxels (Z, Y, X) of the volume. Neither side trusts the other's lines.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

from ..printable import excerpt
from ..text_files import parse_json

PROTOCOL_VERSION = 1
REQUESTS = (
    "describe_model",
    "devices",
    "estimate",
    "segment",
    "preview",
    "compare",
    "import_model",
    "policies",
    "list_images",
    "segment_file",
    "forget",
)
# Besides, "cancel" and "shutdown", which are not answered.
FINAL_EVENTS = ("result", "error", "cancelled", "dropped")
# Fields that every event of a kind has; float stands for any number.
EVENT_FIELDS: dict[str, dict[str, type]] = {
    "ready": {"pid": int},
    "log": {"message": str},
    "stage": {"stage": str},
    "progress": {"stage": str, "done": float, "total": float},
    "row": {"row": dict},
}
OPTIONAL_NUMBERS = ("fraction", "remaining_s")
LONGEST_LOG = 2000  # characters
MOST_LINE_BYTES = 4 * 1024 * 1024  # of a line; the longest that is sent has some ten thousand
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
    """A request as a line of JSON with its line break.

    Args:
        number: Of the request; its events have it as ``id``.
        request: One of ``REQUESTS``, ``cancel`` or ``shutdown``.
        fields: In JSON types.
    """
    return json.dumps({"id": number, "request": request, **fields}) + "\n"


def event_line(number: int | None, event: str, /, **fields: Any) -> str:
    """An event as a line of JSON with its line break.

    Args:
        number: Of the request that it belongs to; None: to none.
        event: Its kind, as ``progress``.
        fields: In JSON types.
    """
    return json.dumps({"id": number, "event": event, **fields}) + "\n"


def parse_event(line: str) -> dict[str, Any] | None:
    """Parse a line that the worker wrote.

    Returns:
        An event whose ``id`` is a number or None, with all fields that its kind always has. One that lacks a field is
        replaced by the ``error`` of its request; a line that is no event, by a ``log`` event of no request. None for an
        empty line.
    """
    if not line.strip():
        return None
    try:
        event = parse_json(line)
    except ValueError:
        event = None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return {"id": None, "event": "log", "message": line.strip()[:LONGEST_LOG]}
    number = event.get("id")
    event["id"] = number if type(number) is int else None
    if event["event"] == "error":
        no_text = [name for name in ("message", "advice", "details") if not isinstance(event.get(name, ""), str)]
        fields = {name: value for name, value in event.items() if name not in no_text}
        return {"message": "The worker told of an error, and not of which.", **fields}
    kinds = EVENT_FIELDS.get(event["event"], {})
    faulty = [name for name, kind in kinds.items() if not _is_of_kind(event.get(name), kind)]
    numbers = [name for name in OPTIONAL_NUMBERS if event.get(name) is not None]
    faulty += [name for name in numbers if not _is_of_kind(event[name], float)]
    return unusable(event, f"its {faulty[0]} is {excerpt(repr(event.get(faulty[0])))}") if faulty else event


def unusable(event: dict[str, Any], why: str) -> dict[str, Any]:
    """The event that replaces one that cannot be used: the error that ends its request, else a log entry.

    Args:
        event: With ``id`` and ``event``.
        why: The reason, as a clause.
    """
    message = f"The worker sent '{excerpt(event['event'])}', which cannot be used: {why}."
    if event["id"] is None:
        return {"id": None, "event": "log", "message": message}
    advice = "This is a fault of the program, or application and worker are of different versions."
    return {"id": event["id"], "event": "error", "kind": "ProtocolError", "message": message, "advice": advice}


def _is_of_kind(value: Any, kind: type) -> bool:
    """Whether a value of JSON is of a type; float stands for any finite number."""
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")
    return isinstance(value, kind) and not isinstance(value, bool)
