"""What may come of an input: a result, or an error that a user understands. Anything else is a finding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import guard
from guard import Finding

from TuckerSegLib.errors import TuckerSegError

LONGEST_MESSAGE = 20_000  # characters; nobody reads more, and a terminal should not be flooded


def answer(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """What the function gives; None where it refused its input with a ``TuckerSegError``."""
    try:
        with guard.current().listening():
            return function(*arguments, **named)
    except TuckerSegError as error:
        require(str(error).strip() != "", f"a {type(error).__name__} without a word")
        require(len(str(error)) <= LONGEST_MESSAGE, f"a message of {len(str(error))} characters")
        return None


def require(law: bool, otherwise: str) -> None:
    """Raise a finding where a law does not hold."""
    if not law:
        raise Finding(otherwise)
