"""Selects labels of a model by what a user types, such as ``liver, left kidney, ribs``."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence

from ..errors import SpecError
from .structures import anatomy, groups, title_of

SIDES = {"left", "right"}
SINGULARS = {"vertebrae": "vertebra", "arteries": "artery", "glands": "gland"}
SHORTEST_PLURAL = 4  # letters: "ribs"; but no "pus" to "pu"
SUGGESTIONS = 3


def select(texts: Sequence[str], names: Iterable[str], where: str) -> list[str]:
    """Find the labels that texts stand for.

    Case, spaces, hyphens, the order of words, singular and plural do not matter. A text is read as the first of these
    that exists: a label (``left kidney``); both sides of one (``kidneys``); a group (``muscles``, ``heart and
    vessels``, see ``structures.groups``); all labels with all its words (``ribs``, ``left rib``, ``lungs``, ``L3``).

    Args:
        texts: The texts, as typed.
        names: Names of all labels.
        where: The model or task that has these labels, for messages.

    Returns:
        Names of the selected labels, in the order of ``names``.

    Raises:
        SpecError: There is no text, or one that stands for no label; the message suggests similar names.
    """
    names = list(names)
    texts = [text for text in texts if _words(text)]
    if not texts:
        raise SpecError("No structure was named. Name some, as liver,spleen,ribs, or leave the choice out for all.")
    selected = {name for text in texts for name in _select_one(text, names, where)}
    return [name for name in names if name in selected]


def _select_one(text: str, names: list[str], where: str) -> list[str]:
    words = _words(text)
    by_group = groups(names)
    rules: tuple[Callable[[], list[str]], ...] = (
        lambda: [name for name in names if words in (_words(name), _words(title_of(name)))],
        lambda: [name for name in names if _is_same(text, name)],
        lambda: [name for name in names if words == _words(name) - SIDES],
        lambda: next((members for group, members in by_group.items() if _words(group) == words), []),
        lambda: [name for name in names if words <= _words(name) | _words(title_of(name))],
    )
    for rule in rules:
        if selected := rule():
            return selected
    phrases = [_spaced(phrase) for phrase in [*names, *map(title_of, names), *by_group]]
    candidates = dict.fromkeys([*phrases, *(word for phrase in phrases for word in phrase.split())])
    similar = difflib.get_close_matches(_spaced(text), candidates, SUGGESTIONS)
    suggestion = f"Did you mean {' or '.join(similar)}?" if similar else f"It has {', '.join(names[:SUGGESTIONS])}, …"
    raise SpecError(f"'{text.strip()}' is no structure of {where}, and no group ({', '.join(by_group)}). {suggestion}")


def _is_same(text: str, name: str) -> bool:
    """Whether both are names of one structure of the table."""
    structure = anatomy(text)
    return structure is not None and structure == anatomy(name)


def _spaced(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", text.lower()))


def _words(text: str) -> set[str]:
    return {_singular(word) for word in re.findall(r"[^\W_]+", text.lower())}


def _singular(word: str) -> str:
    if word in SINGULARS:
        return SINGULARS[word]
    return word[:-1] if len(word) >= SHORTEST_PLURAL and word.endswith("s") and not word.endswith("ss") else word
