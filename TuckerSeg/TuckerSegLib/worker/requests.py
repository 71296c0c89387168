"""Lines to requests: what a line must be, and which fields a request must have before anything is done with it.

An application is not trusted to write well: whatever comes is either a request with sound fields or told in words.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, BinaryIO

from ..printable import excerpt
from ..records.comparison import Variant
from ..records.job import Job
from ..records.protocol import MOST_LINE_BYTES
from ..records.serialization import from_json
from ..text_files import parse_json

Request = dict[str, Any]
Check = tuple[Callable[[Any], bool], str]  # whether a value is sound, and what it should be, in words
SHORTEST_MM, LONGEST_MM = 1e-6, 1e6  # of the edges of a voxel; those of micrographs are longer
FLATTEST = 1e-6  # volume of a voxel, relative to that of a box with its edges
LARGEST_NUMBER = 1e12  # of mm and the like; also keeps whole numbers of hundreds of digits out


class RequestError(Exception):
    """A line is no request, or a request's fields are not what they should be: a fault of the application."""


def lines_of(stream: BinaryIO) -> Iterator[bytes]:
    """Lines until a stream ends; of one that is too long its beginning, one byte longer than a line may be."""
    while line := stream.readline(MOST_LINE_BYTES + 1):
        yield line
        while len(line) > MOST_LINE_BYTES and not line.endswith(b"\n"):
            line = stream.readline(MOST_LINE_BYTES + 1)  # the rest, in pieces; nothing where the stream has ended


def read_request(line: bytes) -> Request:
    """The request of a line, with its kind and its number.

    Raises:
        RequestError: It is none.
    """
    text = excerpt(line[:400].decode(errors="replace").strip())
    if len(line) > MOST_LINE_BYTES:
        raise RequestError(f"the line has more than {MOST_LINE_BYTES / 1e6:.0f} MB and begins with {text}")
    try:
        request = parse_json(line)
    except ValueError as error:
        raise RequestError(f"{error}: {text}") from error
    if not isinstance(request, dict) or not isinstance(request.get("request"), str):
        raise RequestError(f"it should be an object with a 'request' and an 'id': {text}")
    number = {"shutdown": None, "cancel": "target"}.get(request["request"], "id")
    if number is not None and type(request.get(number)) is not int:
        raise RequestError(f"its '{number}' should be a whole number: {text}")
    return request


def check_fields(request: Request) -> None:
    """Look whether a request has the fields of its kind.

    Raises:
        RequestError: One is missing, or is not what it should be.
    """
    for name, (is_sound, expected) in _FIELDS[request["request"]].items():
        if not is_sound(request.get(name)):
            value = excerpt(repr(request[name])) if name in request else "nothing"
            raise RequestError(f"{request['request']}: '{name}' should be {expected}; found {value}.")
    if "job" in _FIELDS[request["request"]] and request.get("job") is None and request.get("model") is None:
        raise RequestError(f"{request['request']}: 'job' should be {_OBJECT[1]}; found nothing.")
    if request["request"] == "compare" and not variants_of(request):
        raise RequestError(f"compare: 'strengths' should be {_RATIOS[1]}; found nothing.")
    if request["request"] == "compare" and request.get("box_mm") and not request.get("center"):
        raise RequestError(f"compare: 'center' should be {_POINT[1]} where there is a 'box_mm'; found nothing.")


def job_of(request: Request) -> Job:
    """The job that a request is about: its ``job``. Volume and labels pass through files that the request names.

    Fields of a job that stand in the request itself go before the job's own: applications of an earlier version say an
    estimate's model and settings so, and the structures of a run.

    Raises:
        ModelFileError, SpecError: A field is not what it should be.
    """
    document = {"images": []} if request.get("job") is None else request["job"]
    own = {name: request[name] for name in _FIELDS_OF_JOB if request.get(name) is not None}
    if not own.get("folds", True):
        del own["folds"]  # none named: all
    return replace(from_json(Job, {**document, **own}), output=None, outputs=())


def file_job_of(request: Request) -> Job:
    """The job that a request is about, from its ``image`` to the file ``output``.

    Raises:
        ModelFileError, SpecError: A field is not what it should be.
    """
    return replace(job_of(request), images=(request["image"],), output=request["output"])


def variants_of(request: Request) -> list[Variant]:
    """What a comparison compares: its ``variants``, or mere strengths, whichever name they have."""
    if request.get("variants"):
        return [Variant(each["strength"], each.get("policy")) for each in request["variants"]]
    return [Variant(strength) for strength in request.get("strengths") or request.get("rank_ratios") or []]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


def _is_place(value: Any) -> bool:
    """A path that means the same in whatever folder this process runs."""
    return _is_text(value) and os.path.isabs(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < LARGEST_NUMBER


def _is_share(value: Any) -> bool:
    return _is_number(value) and 0 < value < 1


def _is_variant(value: Any) -> bool:
    return isinstance(value, dict) and _is_share(value.get("strength")) and _or_none(_TEXT)[0](value.get("policy"))


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 < value < 10**6


def _list_of(is_sound: Callable[[Any], bool], length: int | None = None) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        return isinstance(value, list) and length in (None, len(value)) and all(map(is_sound, value))

    return check


def _is_affine(value: Any) -> bool:
    """Four rows of four numbers whose axes span a volume."""
    if not _list_of(_list_of(_is_number, 4), 4)(value):
        return False
    (a, b, c, _), (d, e, f, _), (g, h, i, _), _ = value
    lengths = math.hypot(a, d, g), math.hypot(b, e, h), math.hypot(c, f, i)  # of the edges of a voxel, in mm
    volume = abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))
    return all(SHORTEST_MM < length < LONGEST_MM for length in lengths) and volume > FLATTEST * math.prod(lengths)


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check[0](value), f"{check[1]}, or null"


_TEXT: Check = (_is_text, "text")
_PLACE: Check = (_is_place, "the whole path of a file or folder")
_FOLDER: Check = (_is_place, "the whole path of a folder")
_ARRAY_FILE: Check = (lambda value: _is_place(value) and value.endswith(".npy"), "the whole path of a .npy file")
_TEXTS: Check = (_list_of(_is_text), "a list of texts")
_OBJECT: Check = (lambda value: isinstance(value, dict), "an object")
_OBJECTS: Check = (_list_of(_OBJECT[0]), "a list of objects")
_POINT: Check = (_list_of(_is_number, 3), "a list of 3 numbers")
_RATIOS: Check = (_list_of(_is_share), "a list of numbers between 0 and 1")
_VARIANTS: Check = (
    _list_of(_is_variant),
    "a list of objects with a 'strength' between 0 and 1, and a 'policy' or none",
)
_SHAPE: Check = (_list_of(_is_size, 3), "a list of 3 whole numbers above 0")
_AFFINE: Check = (_is_affine, "a list of 4 lists of 4 numbers, whose axes span a volume")
_NUMBER: Check = (_is_number, "a number")
_LENGTH: Check = (lambda value: _is_number(value) and value >= 0, "a number of mm")
_FIELDS_OF_JOB = {
    "model": _or_none(_TEXT),
    "method": _or_none(_TEXT),
    "compression": _or_none(_OBJECT),
    "steps": _or_none(_OBJECTS),
    "inference": _or_none(_OBJECT),
    "folds": _or_none(_TEXTS),
    "checkpoint": _or_none(_TEXT),
    "calibrate": _or_none(_TEXT),
    "crop": _or_none(_TEXT),
    "structures": _or_none(_TEXTS),
    "agreement": _or_none(_NUMBER),
}
_JOB = {"job": _or_none(_OBJECT), **_FIELDS_OF_JOB}
_RUN = {**_JOB, "volume": _OBJECT}

_FIELDS: dict[str, dict[str, Check]] = {
    "describe_model": _JOB,
    "devices": {},
    "estimate": {**_JOB, "shape": _SHAPE, "affine": _AFFINE, "agreements": _or_none(_RATIOS)},
    "segment": {**_RUN, "labels": _ARRAY_FILE},
    "preview": {**_RUN, "labels": _ARRAY_FILE, "point": _POINT},
    "compare": {
        **_RUN,
        "strengths": _or_none(_RATIOS),
        "variants": _or_none(_VARIANTS),
        "rank_ratios": _or_none(_RATIOS),  # their name in applications of an earlier version
        "folder": _FOLDER,
        "original": _or_none(_OBJECT),
        "box_mm": _or_none(_LENGTH),
        "center": _or_none(_POINT),
    },
    "import_model": {"path": _TEXT, "name": _TEXT},
    "policies": {},
    "forget": {},
    "list_images": {"folder": _FOLDER},
    "segment_file": {**_JOB, "image": _PLACE, "output": _PLACE},
}
