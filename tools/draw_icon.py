"""Draw the icon: an axial slice of a trunk and its organs, and the small core that a Tucker decomposition leaves.

Writes ``TuckerSeg.png`` for the extension catalog and the module's own copy of it. Needs matplotlib.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Polygon

from TuckerSegLib.catalog.structures import anatomy

ROOT = Path(__file__).resolve().parents[1]
FILES = (ROOT / "TuckerSeg.png", ROOT / "TuckerSeg" / "Resources" / "Icons" / "TuckerSeg.png")
PIXELS = 128

FAT, MUSCLE, CAVITY = (0.93, 0.87, 0.72), (0.72, 0.42, 0.37), (0.20, 0.22, 0.27)
# Name, center, width, height, degrees; y points up, the spine is below, the patient's right is on the left
ORGANS = (
    ("liver", (40, 83), 50, 46, -14),
    ("stomach", (82, 91), 34, 28, 25),
    ("spleen", (104, 72), 14, 32, -15),
    ("kidney_right", (35, 48), 17, 24, 22),
    ("kidney_left", (87, 48), 17, 24, -22),
    ("inferior_vena_cava", (53, 62), 12, 11, 0),
    ("aorta", (70, 62), 13, 13, 0),
    ("vertebrae", (61, 45), 27, 21, 0),
    ("vertebrae", (61, 31), 9, 18, 0),
    ("spinal_cord", (61, 34), 8, 7, 0),
)
CORE_CENTER, CORE_EDGE, CORE_PARTS = (99, 30), 28, 2
CORE_FACES = {"top": (0.47, 0.82, 0.93), "left": (0.13, 0.55, 0.78), "right": (0.06, 0.36, 0.60)}


def draw_icon() -> Figure:
    """The icon as a figure of ``PIXELS`` by ``PIXELS``, transparent around the drawing."""
    figure = Figure(figsize=(1, 1), dpi=PIXELS)
    figure.patch.set_alpha(0)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, PIXELS)
    axes.set_ylim(0, PIXELS)
    axes.axis("off")
    for color, width, height in ((FAT, 122, 106), (MUSCLE, 112, 96), (CAVITY, 102, 86)):
        axes.add_patch(Ellipse((62, 73), width, height, color=color, linewidth=0))
    for name, center, width, height, degrees in ORGANS:
        axes.add_patch(Ellipse(center, width, height, angle=degrees, color=anatomy(name).color, linewidth=0))
    _draw_core(axes)
    return figure


def _draw_core(axes: Axes) -> None:
    """A cube from above, its faces cut into parts, with a white rim that sets it off."""
    down = np.array([0.0, -1.0])
    axis = {"x": np.array([np.sqrt(3), 1]) / 2, "y": np.array([-np.sqrt(3), 1]) / 2, "z": down}
    corner = np.array(CORE_CENTER)  # where the three faces meet
    turns = np.radians(np.arange(30, 390, 60))
    outline = corner + CORE_EDGE * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    axes.add_patch(Polygon(outline, facecolor="white", edgecolor="white", linewidth=3.5, joinstyle="round"))
    for face, (first, second) in {"top": "xy", "left": "yz", "right": "xz"}.items():
        step = CORE_EDGE / CORE_PARTS
        for row in range(CORE_PARTS):
            for column in range(CORE_PARTS):
                start = corner + step * (row * axis[first] + column * axis[second])
                square = [start, start + step * axis[first]]
                square += [square[1] + step * axis[second], start + step * axis[second]]
                axes.add_patch(Polygon(square, facecolor=CORE_FACES[face], edgecolor="white", linewidth=0.7))


if __name__ == "__main__":
    for file in FILES:
        file.parent.mkdir(exist_ok=True)
        draw_icon().savefig(file, dpi=PIXELS)
