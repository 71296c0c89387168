"""Damage to a valid input, as Hypothesis draws it and as it is done.

A case holds the edits, not the damaged input: it stays short when it is printed, and can be pasted into a target's
``EXAMPLES``. An edit is a tuple; ``edited`` and ``damaged`` do them one after the other.
"""

from __future__ import annotations

import copy
import json
import math
from typing import Any

from dangerous_names import NAMES, TEXTS
from hypothesis import strategies as st

Path = tuple[Any, ...]
Edits = tuple[tuple, ...]

NUMBERS = (
    0,
    -1,
    1,
    2,
    3,
    4,
    7,
    17,
    127,
    255,
    256,
    8000,
    20000,
    65535,
    65536,
    10**6,
    2**31,
    10**9,
    2**63,
    2**64,
    10**30,
)
FLOATS = (math.nan, math.inf, -math.inf, 0.0, -0.0, 0.5, -1.5, 1e-308, 1e308, 1e30)
# Pieces of JSON that no document of Python becomes: (before, how many of each, between, after)
RAW = (
    ("[", 100_000, "", "]"),
    ('{"a":', 50_000, "1", "}"),
    ("9", 5000, "", ""),
    ("-", 1, "Infinity", ""),
    ("", 1, "1e999", ""),
    ("", 1, '"\\ud800"', ""),
    ("", 1, '{"a": 1, "a": 2}', ""),
    ('"', 1, "x" * 5000, '"'),
    ("", 1, '"\\u001b[31m"', ""),
    ("[0,", 1, ",".join(["0"] * 5000), "]"),
    ("", 1, "tru", ""),
    ("", 1, "", ""),
)
MARK = "@piece of JSON {}@"

texts = st.one_of(st.sampled_from(TEXTS), st.sampled_from(NAMES), st.text(max_size=12))
numbers = st.one_of(st.sampled_from(NUMBERS), st.sampled_from(FLOATS), st.integers(-(2**70), 2**70), st.floats())
plain = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.one_of(
    plain,
    st.lists(plain, max_size=4),
    st.dictionaries(texts, plain, max_size=3),
    st.recursive(
        plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=2), max_leaves=6
    ),
)


def paths_of(document: Any, before: Path = ()) -> list[Path]:
    """Every place of a nested document; of a long list, its first two and its last."""
    found = [before]
    if isinstance(document, dict):
        items = list(document.items())
    elif isinstance(document, list):
        items = [(index, document[index]) for index in sorted({0, 1, len(document) - 1} & set(range(len(document))))]
    else:
        items = []
    for key, value in items:
        found += paths_of(value, (*before, key))
    return found


def edits_of(document: Any, raw: bool = True) -> st.SearchStrategy[Edits]:
    """Up to three edits of a nested document.

    Args:
        raw: Also pieces of JSON that are none, or that no Python value is written as.
    """
    paths = st.sampled_from(paths_of(document))
    kinds = [
        st.tuples(st.just("set"), paths, values),
        st.tuples(st.just("set"), paths, texts),
        st.tuples(st.just("drop"), paths),
        st.tuples(st.just("add"), paths, texts, values),
        st.tuples(st.just("wrap"), paths),
        st.tuples(st.just("swap"), paths, paths),
        st.tuples(st.just("repeat"), paths, st.sampled_from((0, 2, 3, 100))),
    ]
    if raw:
        kinds.append(st.tuples(st.just("raw"), paths, st.integers(0, len(RAW) - 1)))
    return st.lists(st.one_of(kinds), min_size=1, max_size=3).map(tuple)


def edited(document: Any, edits: Edits) -> Any:
    """A copy with the edits done; one whose place is gone is passed over. Pieces of JSON are marks in it."""
    holder = {"document": copy.deepcopy(document)}
    for edit in edits:
        try:
            _do(holder, *edit)
        except (KeyError, IndexError, TypeError, AttributeError):
            continue
    return holder["document"]


def _do(holder: dict, kind: str, path: Path, *more: Any) -> None:
    *before, last = ("document", *path)
    parent: Any = holder
    for key in before:
        parent = parent[key]
    value = parent[last]
    if kind == "set":
        parent[last] = copy.deepcopy(more[0])
    elif kind == "drop":
        del parent[last]
        holder.setdefault("document", None)
    elif kind == "add":
        if isinstance(value, list):
            value.append(copy.deepcopy(more[1]))
        else:
            value[more[0]] = copy.deepcopy(more[1])
    elif kind == "wrap":
        parent[last] = [value]
    elif kind == "swap":
        other = holder["document"]
        for key in more[0]:
            other = other[key]
        parent[last] = copy.deepcopy(other)
    elif kind == "repeat":
        parent[last] = value * more[0]
    elif kind == "raw":
        parent[last] = MARK.format(more[0])


def as_json(document: Any) -> str:
    """The text of an edited document."""
    text = json.dumps(document)
    for number, (before, count, between, after) in enumerate(RAW):
        text = text.replace(f'"{MARK.format(number)}"', before * count + between + after * count)
    return text


def json_bytes(document: Any, edits: Edits) -> bytes:
    """The file of a document with edits done."""
    return as_json(edited(document, edits)).encode("utf-8", "surrogatepass")


def byte_edits(most: int = 3) -> st.SearchStrategy[Edits]:
    """Up to so many edits of bytes, whatever they are; places are taken modulo the length."""
    places = st.one_of(st.integers(0, 400), st.integers(0, 2**20))
    kind = st.one_of(
        st.tuples(st.just("flip"), places, st.integers(0, 7)),
        st.tuples(st.just("cut"), places),
        st.tuples(st.just("put"), places, st.binary(min_size=1, max_size=8)),
        st.tuples(st.just("insert"), places, st.binary(min_size=1, max_size=8)),
        st.tuples(st.just("delete"), places, st.integers(1, 64)),
        st.tuples(st.just("append"), st.binary(min_size=1, max_size=64)),
    )
    return st.lists(kind, max_size=most).map(tuple)


def damaged(content: bytes, edits: Edits) -> bytes:
    """A copy with the edits of bytes done."""
    for kind, *more in edits:
        place = more[0] % (len(content) + 1) if isinstance(more[0], int) else 0
        if kind == "flip" and place < len(content):
            content = content[:place] + bytes([content[place] ^ 1 << more[1]]) + content[place + 1 :]
        elif kind == "cut":
            content = content[:place]
        elif kind == "put":
            content = content[:place] + more[1] + content[place + len(more[1]) :]
        elif kind == "insert":
            content = content[:place] + more[1] + content[place:]
        elif kind == "delete":
            content = content[:place] + content[place + more[1] :]
        elif kind == "append":
            content += more[0]
    return content
