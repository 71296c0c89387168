"""Draw the pictures of the sample data: a coronal slice of each volume, in a window for soft tissue.

``python tools/draw_thumbnails.py TuckerSegTorso=VOLUME TotalSegmentatorExampleCT=VOLUME`` writes one PNG per
name. Needs matplotlib.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel
import numpy as np
from matplotlib.figure import Figure

ICONS = Path(__file__).resolve().parents[1] / "TuckerSeg" / "Resources" / "Icons"
SIZE_PIXELS = (260, 280)  # as Slicer's own
WINDOW_HU = (-160, 240)
DOTS_PER_INCH = 100


def draw_thumbnail(volume: Path, file: Path) -> None:
    """Draw the slice that shows most of the body's inside; the patient's right is on the left, head up."""
    image = nibabel.as_closest_canonical(nibabel.load(volume))  # x to the right, y to the front, z up
    array = np.asarray(image.dataobj)
    tissue = ((array > WINDOW_HU[0]) & (array < WINDOW_HU[1])).sum(axis=(0, 2))
    coronal = array[::-1, int(tissue.argmax()), :].T
    spacing = image.header.get_zooms()
    figure = Figure(figsize=[size / DOTS_PER_INCH for size in SIZE_PIXELS], dpi=DOTS_PER_INCH, facecolor="black")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(
        coronal,
        cmap="gray",
        vmin=WINDOW_HU[0],
        vmax=WINDOW_HU[1],
        origin="lower",
        aspect=spacing[2] / spacing[0],
        interpolation="bicubic",
    )
    figure.savefig(file, facecolor="black", metadata={"Software": None})


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        name, _, path = argument.partition("=")
        draw_thumbnail(Path(path), ICONS / f"{name}.png")
