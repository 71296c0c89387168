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
REQUESTS = ("describe_model", "devices", "estimate", "segment", "preview", "compare", "import_model")
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
    """A request as a line of text."""
    return json.dumps({"id": number, "request": request, **fields}) + "\n"


def event_line(number: int | None, event: str, /, **fields: Any) -> str:
    """An event as a line of text."""
    return json.dumps({"id": number, "event": event, **fields}) + "\n"


def parse_event(line: str) -> dict[str, Any] | None:
    """The event of a line, with an ``id`` that is a number or None, and with the fields that its kind always has.

    An event that lacks one becomes the ``error`` of its request; text that is none, a ``log`` event of no request; an
    empty line None.
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
        no_words = [name for name in ("message", "advice", "details") if not isinstance(event.get(name, ""), str)]
        sound = {name: value for name, value in event.items() if name not in no_words}
        return {"message": "The worker told of an error, and not of which.", **sound}
    wrong = [name for name, kind in EVENT_FIELDS.get(event["event"], {}).items() if not _is(event.get(name), kind)]
    wrong += [name for name in OPTIONAL_NUMBERS if event.get(name) is not None and not _is(event[name], float)]
    return unusable(event, f"its {wrong[0]} is {excerpt(repr(event.get(wrong[0])))}") if wrong else event


def unusable(event: dict[str, Any], why: str) -> dict[str, Any]:
    """What takes the place of an event that cannot be used: the end of its request."""
    message = f"The worker sent '{excerpt(event['event'])}', which cannot be used: {why}."
    if event["id"] is None:
        return {"id": None, "event": "log", "message": message}
    advice = "This is a fault of the program, or application and worker are of different versions."
    return {"id": event["id"], "event": "error", "kind": "ProtocolError", "message": message, "advice": advice}


def _is(value: Any, kind: type) -> bool:
    """Whether a value of JSON is of a kind; a number has an end."""
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")
    return isinstance(value, kind) and not isinstance(value, bool)
