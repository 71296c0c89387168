"""Formats numbers and names for users."""

from __future__ import annotations

import html

from ..printable import printable


def amount(value: float) -> str:
    """1 234 567 as ``1.23 M``."""
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            scaled = value / size
            return f"{scaled:.{2 if scaled < 10 else 1 if scaled < 100 else 0}f} {letter}"
    return f"{value:.0f}"


def bytes_in_words(size: int) -> str:
    """Bytes as MB or GB (powers of ten)."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def seconds_in_words(seconds: float) -> str:
    """Seconds as ``4.2 s``, ``48 s`` or ``3 min 20 s``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds / 10) * 10, 60)
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


def plain(text: str) -> str:
    """Text for a tool tip or a dialog, protected against being read as HTML, which file names may look like."""
    visible = printable(text)
    return f"<p>{html.escape(visible)}</p>".replace("\n", "<br>") if "<" in visible else visible
