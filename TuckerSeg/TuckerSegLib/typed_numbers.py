"""Numbers that are typed: types for ``argparse`` whose numbers have an end."""

from __future__ import annotations

import argparse
from typing import Any

from .printable import excerpt

LARGEST_WHOLE, LARGEST_REAL = 2**31 - 1, 1e9  # what every library below takes; no setting comes near


def whole(text: str) -> int:
    """What was typed as a whole number; whether it fits is told by the setting that it is for."""
    return _number(text, int, "a whole number", LARGEST_WHOLE)


def real(text: str) -> float:
    """What was typed as a number with an end; whether it fits is told by the setting that it is for."""
    return _number(text, float, "a number", LARGEST_REAL)


def _number(text: str, kind: type, words: str, largest: float) -> Any:
    try:
        number = kind(text)
    except ValueError:
        number = None
    if number is None or not abs(number) <= largest:
        raise argparse.ArgumentTypeError(f"{words} of at most {largest:g} was expected; found '{excerpt(text, 40)}'")
    return number
