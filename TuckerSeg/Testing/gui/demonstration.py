"""The demonstration: the built-in volume through the module, on real MRML, clicked as a user would; with pictures.

Slicer itself is not needed: ``runtime`` stands in for the application. Usage: ``demonstration.py --out DIR``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODULE_FOLDER = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE / "runtime"), str(MODULE_FOLDER)]

import host  # noqa: E402
import rendering  # noqa: E402
import slicer  # noqa: E402
import themes  # noqa: E402
from tour import PANEL_WIDTH, Tour  # noqa: E402

RANK_RATIO = 0.85  # the lowest rank at which this small network's picture is still right; see the table it prints
FURTHER_RANKS = "0.85, 0.7, 0.5"
VOLUME = MODULE_FOLDER / "Resources" / "Data" / "synthetic_torso.nii.gz"
VIEW_SIZE = (640, 640)
NARROW_WIDTH = 300
ENLARGED = 1.25  # text, as people set it in their system


def open_module(folder: Path) -> Tour:
    """The module in the runtime, with pictures to a folder."""
    host.start()
    container = host.load(str(MODULE_FOLDER / "TuckerSeg.py")).widgetRepresentation()
    container.show()
    container.enter()
    return Tour(folder, container)


def pictures_of_looks(demonstration: Tour) -> None:
    """The panel in the dark theme and narrow, and with larger text."""
    demonstration.ui.compareCollapsibleButton.collapsed = True
    themes.use_theme("dark")
    demonstration.panel.context.refresh()
    demonstration.picture_of_panel("panel_dark.png", NARROW_WIDTH)
    themes.use_theme("light")
    themes.enlarge_text(ENLARGED)
    demonstration.panel.context.refresh()
    demonstration.picture_of_panel("panel_enlarged.png")
    themes.enlarge_text(1 / ENLARGED)


def pictures_of_views(folder: Path, volume_node, segmentation_node) -> list[str]:
    """Slices and surfaces as Slicer draws them; gives the files' names."""
    bounds = [0.0] * 6
    segmentation_node.GetRASBounds(bounds)
    center = [(low + high) / 2 for low, high in zip(bounds[::2], bounds[1::2])]
    names = []
    for orientation in rendering.ORIENTATIONS:
        names.append(f"{orientation.lower()}.png")
        rendering.slice_picture(folder / names[-1], volume_node, orientation, center, VIEW_SIZE)
    segmentation_node.CreateClosedSurfaceRepresentation()
    names.append("3d.png")
    rendering.view_picture(folder / names[-1], VIEW_SIZE)
    return names


def main() -> None:
    """Segment, compare, save and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo-output"))
    parser.add_argument("--rank", type=float, default=RANK_RATIO)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    from TuckerSegLib.records.statistics import as_table
    from TuckerSegLib.slicer_bridge.scene.statistics_nodes import RECORD_ATTRIBUTE, statistics_of

    demonstration = open_module(options.out)
    volume = slicer.util.loadVolume(str(VOLUME))
    demonstration.choose_volume(volume)
    demonstration.choose_rank(options.rank)
    node = demonstration.segment()
    print(as_table(statistics_of(node)), end="\n\n")
    print_comparison(demonstration.compare(FURTHER_RANKS))
    pictures_of_looks(demonstration)
    written = ["segmentation.seg.nrrd", "statistics.json"]
    if not slicer.util.saveNode(node, str(options.out / written[0])):
        raise SystemExit(f"{options.out / written[0]} could not be written.")
    statistics = json.dumps(json.loads(node.GetAttribute(RECORD_ATTRIBUTE)), indent=1)
    (options.out / written[1]).write_text(statistics, encoding="utf-8")
    written += demonstration.pictures
    reason = rendering.why_not()
    if reason:
        print(f"No pictures of slices and surfaces: {reason}")
    else:
        written += pictures_of_views(options.out, volume, node)
        written.append(compose(options.out))
    demonstration.close()
    print(f"Written to {options.out}: " + ", ".join(written))


def print_comparison(rows) -> None:
    """What every rank costs and saves, on the terminal."""
    print(f"{'rank':>6}{'M parameters':>15}{'GFLOPs':>10}{'seconds':>9}{'agreement':>11}")
    for row in rows:
        run = row.statistics
        agreement = "" if row.agreement is None else f"{row.agreement:.3f}"
        print(
            f"{row.strength:6.2f}{run.parameters / 1e6:15.3f}{run.macs_per_volume * 2e-9:10.1f}"
            f"{row.seconds:9.2f}{agreement:>11}"
        )
    print("agreement: mean Dice against the original network, structures of 20 voxels or more")


def compose(folder: Path) -> str:
    """The panel and four views in one picture, laid out as in Slicer; gives the file's name."""
    import qt

    panel = qt.QPixmap(str(folder / "panel_after.png"))
    width, height = VIEW_SIZE
    picture = qt.QPixmap(PANEL_WIDTH + 2 * width, max(2 * height, panel.height()))
    picture.fill(qt.QColor(239, 239, 239))
    painter = qt.QPainter(picture)
    painter.drawPixmap(0, 0, panel)
    for number, name in enumerate(("axial.png", "3d.png", "coronal.png", "sagittal.png")):
        place = (PANEL_WIDTH + (number % 2) * width, (number // 2) * height)
        painter.drawPixmap(*place, qt.QPixmap(str(folder / name)))
    painter.end()
    picture.save(str(folder / "window.png"))
    return "window.png"


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # Qt and VTK are not taken down in an order that both like
