"""Headers that are text: their lines, and how they are read and written."""

from __future__ import annotations

import numpy as np

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def joined(numbers: np.ndarray, separator: str = " ") -> str:
    """Shortest decimals that read back as the same numbers."""
    return separator.join(repr(float(number)) for number in numbers)


def one_line(text: str) -> str:
    return " ".join(text.split())


HEADER_LIMIT = 1 << 22  # a segmentation of hundreds of segments has a header of some 100 kB
