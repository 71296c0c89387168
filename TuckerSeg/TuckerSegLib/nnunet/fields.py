"""Fields of nnU-Net's JSON files, each checked for its type and range where it is read.

A model's files come from anywhere. ``place`` is where a value stands, as ``plans.json: spacing``; every message names
it, what would be right, and what was found.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from typing import Any

from ..errors import ModelFolderError
from ..printable import shown

LONGEST_TEXT = 200
UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of characters, line and paragraph separators


def wrong(place: str, expected: str, value: object) -> ModelFolderError:
    """The error of a field whose value is not what it should be.

    Args:
        place: Where the value stands, as ``plans.json: spacing``.
        expected: What would be right, in words.
        value: What stands there; shown shortened.
    """
    return ModelFolderError(f"{place} should be {expected}; found {shown(value)}.")


def required(document: dict[str, Any], key: str, place: str) -> Any:
    """The value of a key that a JSON object must have.

    Raises:
        ModelFolderError: It is missing.
    """
    if key not in document:
        raise ModelFolderError(f"{place}: the key '{key}' is missing.")
    return document[key]


def whole_number(value: object, place: str, least: int, most: int) -> int:
    """A value as whole number; raises ModelFolderError unless it is one from ``least`` to ``most``.

    3.0 counts as one, True and "3" do not.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise wrong(place, f"a whole number from {least} to {most}", value)
    return value


def number(value: object, place: str, least: float = -1e12, most: float = 1e12) -> float:
    """A value as float; raises ModelFolderError unless it is a number from ``least`` to ``most``, which NaN is not."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise wrong(place, f"a number from {least:g} to {most:g}", value)
    return float(value)


def flag(value: object, place: str) -> bool:
    """A value as bool; raises ModelFolderError unless it is true or false."""
    if not isinstance(value, bool):
        raise wrong(place, "true or false", value)
    return value


def text(value: object, place: str, longest: int = LONGEST_TEXT, empty: bool = False) -> str:
    """A value as text; raises ModelFolderError unless it is one line of at most ``longest`` characters.

    It must not be blank, unless ``empty``.
    """
    fits = isinstance(value, str) and (empty or value.strip()) and len(value) <= longest
    if not fits or any(unicodedata.category(character) in UNPRINTABLE for character in value):
        raise wrong(place, f"one line of {'' if empty else '1 to '}{longest} characters at most", value)
    return value


def part_of_path(value: object, place: str) -> str:
    """A value as text; raises ModelFolderError unless it is one line that can be part of a folder's name."""
    if any(character in '/\\:*?"<>|' for character in text(value, place)):
        raise wrong(place, "a name without characters that paths are made of", value)
    return value


def sequence(value: object, place: str, lengths: Sequence[int]) -> list[Any]:
    """A value as list; raises ModelFolderError unless it is a list of one of some lengths."""
    if not isinstance(value, (list, tuple)) or len(value) not in lengths:
        words = f"{lengths[0]}" if len(lengths) == 1 else f"{min(lengths)} to {max(lengths)}"
        raise wrong(place, f"a list of {words}", value)
    return list(value)


def mapping(value: object, place: str, most: int = 1000) -> dict[str, Any]:
    """A value as dictionary; raises ModelFolderError unless it is a JSON object of at most ``most`` entries."""
    if not isinstance(value, dict) or len(value) > most:
        raise wrong(place, f"a JSON object of at most {most} entries", value)
    return value


def whole_numbers(value: object, place: str, lengths: Sequence[int], least: int, most: int) -> tuple[int, ...]:
    """A value as tuple; raises ModelFolderError unless it is a list of whole numbers from ``least`` to ``most``."""
    return tuple(whole_number(item, place, least, most) for item in sequence(value, place, lengths))


def numbers(value: object, place: str, length: int, least: float, most: float) -> tuple[float, ...]:
    """A value as tuple; raises ModelFolderError unless it is a list of ``length`` finite numbers in a range."""
    items = sequence(value, place, (length,))
    if not all(isinstance(item, (int, float)) and abs(item) < math.inf for item in items):  # false for NaN, too
        raise wrong(place, f"{length} numbers", value)
    return tuple(number(item, place, least, most) for item in items)
