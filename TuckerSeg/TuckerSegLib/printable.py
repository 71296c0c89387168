"""Text that comes from files and servers, made fit to be shown.

A name may hold what a terminal obeys (escape sequences), what turns a line around (marks of direction), or what is not
seen at all. Shown, each such character is an escape as Python writes it: ``\\x1b``.
"""

from __future__ import annotations

import itertools
import unicodedata

# Controls, formats (directions, zero width), halves of surrogate pairs, separators of lines and paragraphs.
_OBEYED = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
EXCERPT_CHARACTERS = 100


def one_line(text: str) -> str:
    """Text for one line: everything that is not seen as a character is an escape, ends of lines too."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_visible, text))


def printable(text: str) -> str:
    """The same with ends of lines and tabulators as they are, for text of several lines."""
    return "\n".join("\t".join(map(one_line, line.split("\t"))) for line in text.split("\n"))


def indented(text: str) -> str:
    """Text of one message: what follows its first line stands further in, so that none of it passes for another."""
    return printable(text).replace("\n", "\n  ")


def excerpt(text: str, most: int = EXCERPT_CHARACTERS) -> str:
    """The beginning of a text of a file or a server, for a message: one line, and not too long."""
    return one_line(text if len(text) <= most else f"{text[: most - 1]}…")


def shown(value: object, longest: int = 80) -> str:
    """A value of a file for a message: as Python writes it, shortened, control characters escaped."""
    try:
        text = repr(_outline(value))
    except (RecursionError, ValueError):  # nested too deep, or a whole number of thousands of digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def _visible(character: str) -> str:
    if unicodedata.category(character) not in _OBEYED:
        return character
    return character.encode("unicode_escape").decode("ascii")


def _outline(value: object, depth: int = 0) -> object:
    """The beginning of a long or nested value, so that showing it costs nothing."""
    if isinstance(value, str):
        return value[:100]
    if isinstance(value, dict):
        entries = list(itertools.islice(value.items(), 8)) if depth < 4 else []
        return {_outline(key, depth + 1): _outline(item, depth + 1) for key, item in entries}
    if isinstance(value, (list, tuple)):
        return [_outline(item, depth + 1) for item in value[:8]] if depth < 4 else []
    return value
