"""All cases of a cohort on one picture, with their names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..files.atomic_writes import written_whole
from ..printable import excerpt, one_line

COLUMNS = 4
CELL_INCHES = (4.2, 1.75)
DOTS_PER_INCH = 100
LONGEST_NAME = 48


def draw_contact_sheet(pictures: Mapping[str, np.ndarray], flagged: Sequence[str], path: Path) -> Path:
    """Draw pictures in a grid, names above them; those of cases that should be looked at are red.

    Args:
        pictures: Name of a case to its picture, see ``pictures.picture_of``.
        flagged: Names of cases.
        path: The PNG file.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        OutputError: The file cannot be written.
    """
    from matplotlib.figure import Figure

    columns = min(COLUMNS, max(1, len(pictures)))
    rows = max(1, math.ceil(len(pictures) / columns))
    figure = Figure((columns * CELL_INCHES[0], rows * CELL_INCHES[1]), facecolor="white", layout="constrained")
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for cell in cells:
        cell.axis("off")
    for cell, (name, picture) in zip(cells, pictures.items()):
        cell.imshow(picture, interpolation="nearest")
        color = "#b00020" if name in flagged else "black"
        cell.set_title(excerpt(one_line(name), LONGEST_NAME), fontsize=9, color=color, parse_math=False)
    with written_whole(path) as beside:
        figure.savefig(beside, format="png", dpi=DOTS_PER_INCH)
    return path
