"""Turns frozen dataclasses into JSON and back.

A record carries ``VERSION`` as a class attribute; reading a newer one is an error, never a guess. A record whose
fields were others in an earlier version has a class method ``upgraded(document)``, which gives today's. A field that
is :func:`unsaid` at its default adds nothing to the JSON of records that do without it, nor to keys made of it.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, TypeVar

from ..errors import ModelFileError
from ..printable import excerpt

Record = TypeVar("Record")
_PLAIN = {
    str: (str, "text"),
    bool: (bool, "true or false"),
    int: (int, "a whole number"),
    float: ((int, float), "a number"),
}  # annotation to the types of JSON that fit it, and to words


def unsaid(default: Any) -> Any:
    """A field of a record that is left out of its JSON while it has its default."""
    return dataclasses.field(default=default, metadata={"unsaid": True})


def to_json(record: Any) -> dict[str, Any]:
    """Turn a dataclass record into plain JSON types, with its version beside its fields."""
    fields = {
        field.name: _plain(getattr(record, field.name))
        for field in dataclasses.fields(record)
        if not (field.metadata.get("unsaid") and getattr(record, field.name) == field.default)
    }
    return {"version": getattr(record, "VERSION", 1), **fields}


def from_json(kind: type[Record], document: dict[str, Any]) -> Record:
    """Rebuild a record written by :func:`to_json`.

    Unknown keys are ignored (an older program may read a file whose newer fields have defaults).

    Args:
        kind: The dataclass.
        document: Its fields as JSON types, and ``version``.

    Raises:
        ModelFileError: A newer version, or a field that is missing or of another type than the record's.
    """
    if not isinstance(document, dict):
        raise _wrong(kind.__name__, "an object", document)
    newest = getattr(kind, "VERSION", 1)
    version = _typed(int, document.get("version", 1), f"{kind.__name__}.version")
    if version > newest:
        raise ModelFileError(
            f"{kind.__name__}: version {version} was written by a newer TuckerSeg; this one reads up to {newest}. "
            "Update TuckerSeg, or make the file again with this one."
        )
    if hasattr(kind, "upgraded"):
        document = kind.upgraded(document)
    hints = typing.get_type_hints(kind)
    values = {
        field.name: _typed(hints[field.name], document[field.name], f"{kind.__name__}.{field.name}")
        for field in dataclasses.fields(kind)
        if field.name in document
    }
    try:
        return kind(**values)
    except TypeError as error:
        raise ModelFileError(f"{kind.__name__}: incomplete record ({error}).") from error


def _plain(value: Any) -> Any:
    """A field's value in JSON types."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_json(value)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


def _typed(hint: Any, value: Any, place: str) -> Any:
    """JSON value to the annotated type: nested records, tuples, dicts of either, optionals of either."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        inner = [argument for argument in arguments if argument is not type(None)]
        if value is None and len(inner) < len(arguments):
            return None
        return _typed(inner[0], value, place) if len(inner) == 1 else value
    if origin is tuple:
        return _typed_tuple(arguments, value, place)
    if origin is dict:
        if not isinstance(value, dict):
            raise _wrong(place, "an object", value)
        return {_key(arguments[0], key, place): _typed(arguments[1], item, place) for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return from_json(hint, value)
    if hint in _PLAIN and (not isinstance(value, _PLAIN[hint][0]) or (isinstance(value, bool) and hint is not bool)):
        raise _wrong(place, _PLAIN[hint][1], value)
    return value


def _typed_tuple(arguments: tuple[Any, ...], value: Any, place: str) -> tuple[Any, ...]:
    any_length = len(arguments) == 2 and arguments[1] is Ellipsis
    if not isinstance(value, (list, tuple)) or not (any_length or len(value) == len(arguments)):
        raise _wrong(place, "a list" if any_length else f"a list of {len(arguments)}", value)
    kinds = [arguments[0]] * len(value) if any_length else arguments
    return tuple(_typed(kind, item, place) for kind, item in zip(kinds, value))


def _key(kind: type, key: str, place: str) -> Any:
    """The key of a JSON object as the annotated type."""
    try:
        return kind(key)
    except ValueError:
        raise _wrong(place, f"an object whose keys are {_PLAIN[kind][1]}", key) from None


def _wrong(place: str, expected: str, value: Any) -> ModelFileError:
    """The error of a field whose value is of another type than the record's."""
    return ModelFileError(f"{place} should be {expected}; found {excerpt(repr(value))}.")
