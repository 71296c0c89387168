"""Text in the headers of image files: reading NRRD's, and writing numbers and lines."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ...errors import ImageError

HEADER_LIMIT = 1 << 22  # a segmentation of hundreds of segments has a header of some 100 kB
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def joined(numbers: np.ndarray, separator: str = " ") -> str:
    """Numbers as text, each in the shortest decimals that read back as the same number."""
    return separator.join(repr(float(number)) for number in numbers)


def one_line(text: str) -> str:
    """A text with every run of white space, line breaks too, as one space."""
    return " ".join(text.split())


def nrrd_text(path: Path) -> tuple[str, int | None]:
    """The text of an NRRD header, and its length in bytes with the empty line that ends it; None without that line.

    Raises:
        ImageError: Not an NRRD file.
    """
    with path.open("rb") as file:
        head = file.read(HEADER_LIMIT)
    if not re.match(rb"NRRD000[1-5]\r?\n", head):
        raise ImageError(f"{path}: not an NRRD file (it does not begin with 'NRRD0001' to 'NRRD0005').")
    end = re.search(rb"\r?\n\r?\n", head)
    text = head[: end.start() if end else len(head)].decode("utf-8", errors="replace")
    return text, end.end() if end else None
