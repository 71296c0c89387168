"""What is done with every damaged image file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from answers import answer, require
from damage import FLOATS, NUMBERS
from dangerous_names import TEXTS
from hypothesis import strategies as st
from laws import check_image

Lines = list[tuple[str, str]]


def read(way: str, path: Path) -> Any:
    """Read a file as an image or as a label map, and check what comes."""
    from TuckerSegLib.evaluation.label_files import read_label_map
    from TuckerSegLib.image import read_image

    if way == "image":
        image = answer(read_image, path)
        if image is not None:
            check_image(image)
        return image
    labels = answer(read_label_map, path)
    if labels is not None:
        require(labels.array.shape == labels.geometry.shape, "labels on another grid")
        require(labels.array.dtype.kind in "iu", f"labels of type {labels.array.dtype}")
        require(int(np.min(labels.array)) >= 0 and int(np.max(labels.array)) < 65536, "labels that no file holds")
        names = labels.names.items()
        require(all(type(value) is int and isinstance(name, str) for value, name in names), f"names {labels.names}")
    return labels


def line_edits(lines: Lines) -> st.SearchStrategy:
    """Up to three edits of a header of lines: a number of a value, a whole value, lines gone, twice or moved."""
    number = st.one_of(st.sampled_from(NUMBERS), st.sampled_from(FLOATS), st.integers(-9, 9)).map(str)
    word = st.one_of(
        number, st.sampled_from(TEXTS), st.text(max_size=8), st.sampled_from(("none", "(1,0)", "()", "(,,)"))
    )
    place = st.integers(0, len(lines) - 1)
    edit = st.one_of(
        st.tuples(st.just("word"), place, st.integers(0, 8), word),
        st.tuples(st.just("value"), place, word | st.lists(number, max_size=6).map(" ".join)),
        st.tuples(st.just("long"), place, st.sampled_from((100, 10_000, 5_000_000))),
        st.tuples(st.just("drop"), place),
        st.tuples(st.just("twice"), place),
        st.tuples(st.just("swap"), place, place),
    )
    return st.lists(edit, max_size=3).map(tuple)


def edited_lines(lines: Lines, edits: tuple) -> Lines:
    lines = list(lines)
    for kind, place, *more in edits:
        if place >= len(lines):
            continue
        name, value = lines[place]
        if kind == "word":
            words = value.split(" ")
            words[more[0] % len(words)] = more[1]
            lines[place] = (name, " ".join(words))
        elif kind == "value":
            lines[place] = (name, more[0])
        elif kind == "long":
            lines[place] = (name, (value + " ") * (more[0] // (len(value) + 1)))
        elif kind == "drop":
            del lines[place]
        elif kind == "twice":
            lines.append(lines[place])
        elif kind == "swap" and more[0] < len(lines):
            lines[place], lines[more[0]] = lines[more[0]], lines[place]
    return lines
