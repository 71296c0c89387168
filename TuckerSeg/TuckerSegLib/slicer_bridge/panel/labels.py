"""Words in labels: shown and not obeyed, wrapped wherever they must be, in a color that can be read in any theme."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable
from math import ceil
from typing import Any

import qt

from ...printable import printable
from .colors import hexadecimal, readable_color

WIDEST_UNBROKEN = 230  # pixels; as much as a panel of 300 has room for
HUE = "hue"  # property of a label: what its color means
BREAK = "\u200b"  # a place where a line may end, which takes no room
# What Qt does not break by itself, which it does at spaces, and behind a slash unless a digit follows.
_UNBROKEN = re.compile(r"(?:[^\s/]|/(?=\d))+")
_BEHIND_JOINTS = re.compile(r"(?<=[\\/_.,;:&?=-])(?=[^\\/_.,;:&?=-])")


def show_words(label: qt.QLabel, words: str, hue: str = "") -> None:
    """Show words of any origin in a label of plain text.

    Args:
        hue: In ``colors.HUES``; empty takes the theme's color.
    """
    label.text = _fitting(label, words)
    label.setProperty(HUE, hue)
    _color(label)


def show_if_any(label: qt.QLabel, words: str, hue: str = "") -> None:
    """The same, and the label takes no room where there are none."""
    show_words(label, words, hue)
    label.visible = bool(words)


def paragraph(label: qt.QLabel, words: str, hue: str = "") -> str:
    """The same words as a paragraph of HTML, for the labels that show rich text."""
    style = f' style="color: {color_on(label, hue)}"' if hue else ""
    return f"<p{style}>{html.escape(_fitting(label, words))}</p>"


def labels_of(ui: Any) -> list[qt.QLabel]:
    """All labels among widgets that are known by their object names."""
    return [widget for name, widget in vars(ui).items() if name.endswith("Label")]


def follow_theme(labels: Iterable[qt.QLabel]) -> None:
    """Color labels anew: the application's palette may be another than when they were filled."""
    for label in labels:
        if label.property(HUE) is not None:
            _color(label)


def color_on(label: qt.QLabel, hue: str) -> str:
    """A hue as it can be read on what a label lies on, for style sheets."""
    background = label.parentWidget().palette.color(qt.QPalette.Window)  # its own stays that of its style sheet's theme
    return hexadecimal(readable_color(hue, (background.red(), background.green(), background.blue())))


def breakable(text: str, width_of: Callable[[str], int]) -> str:
    """Text whose lines can end within long paths and names, too, so that a narrow label cuts nothing off.

    Args:
        width_of: Gives the pixels that a text takes.
    """

    def with_breaks(match: re.Match) -> str:
        word = match[0]
        if width_of(word) <= WIDEST_UNBROKEN:
            return word
        pieces = []
        for piece in _BEHIND_JOINTS.split(word):
            count = ceil(width_of(piece) / WIDEST_UNBROKEN)
            size = ceil(len(piece) / count)
            pieces += [piece[start : start + size] for start in range(0, len(piece), size)]
        return BREAK.join(pieces)

    return _UNBROKEN.sub(with_breaks, text)


def _color(label: qt.QLabel) -> None:
    hue = label.property(HUE)
    style = f"color: {color_on(label, hue)}" if hue else ""
    if label.styleSheet != style:
        label.styleSheet = style


def _fitting(label: qt.QLabel, words: str) -> str:
    return breakable(printable(words), qt.QFontMetrics(label.font).horizontalAdvance)
