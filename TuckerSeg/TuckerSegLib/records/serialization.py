"""Frozen dataclasses to JSON and back, and the records of what a compression did.

A record carries ``VERSION`` as a class attribute; reading a newer one is an error, never a guess.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, TypeVar

from ..errors import ModelFileError

Record = TypeVar("Record")


def to_json(record: Any) -> dict[str, Any]:
    """Turn a dataclass record into plain JSON types, with its version beside its fields."""
    fields = {field.name: _plain(getattr(record, field.name)) for field in dataclasses.fields(record)}
    return {"version": getattr(record, "VERSION", 1), **fields}


def from_json(kind: type[Record], document: dict[str, Any]) -> Record:
    """Rebuild a record written by :func:`to_json`.

    Unknown keys are ignored (an older program may read a file whose newer fields have defaults).

    Raises:
        ModelFileError: A newer version, or a field that is missing.
    """
    known = getattr(kind, "VERSION", 1)
    found = document.get("version", 1)
    if found > known:
        raise ModelFileError(
            f"{kind.__name__}: version {found} was written by a newer TuckerSeg; this one reads up to {known}. "
            "Update TuckerSeg, or make the file again with this one."
        )
    hints = typing.get_type_hints(kind)
    values = {
        field.name: _typed(hints[field.name], document[field.name])
        for field in dataclasses.fields(kind)
        if field.name in document
    }
    try:
        return kind(**values)
    except TypeError as error:
        raise ModelFileError(f"{kind.__name__}: incomplete record ({error}).") from error


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_json(value)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


def _typed(hint: Any, value: Any) -> Any:
    """JSON value to the annotated type: nested records, tuples, dicts of either, optionals of either."""
    if value is None:
        return None
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        inner = [argument for argument in arguments if argument is not type(None)]
        return _typed(inner[0], value) if len(inner) == 1 else value
    if origin is tuple:
        kinds = [arguments[0]] * len(value) if len(arguments) == 2 and arguments[1] is Ellipsis else arguments
        return tuple(_typed(kind, item) for kind, item in zip(kinds, value, strict=True))
    if origin is dict:
        key_kind = arguments[0]
        return {key_kind(key): _typed(arguments[1], item) for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return from_json(hint, value)
    return value
