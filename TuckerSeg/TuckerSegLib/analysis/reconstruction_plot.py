"""Shows how well layers are reconstructed at lower ranks: as a short table and as heat maps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files.atomic_writes import written_whole
from ..printable import one_line
from .layer_reconstruction import LayerReconstruction, RankPair

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ENERGIES = (0.9, 0.95, 0.99)
COMPARED_ENERGY = 0.9  # at whose ranks the table shows what calibration gains
MAPS = {
    "relative_error": "weights",
    "whitened_error_weights": "weights, whitened",
    "whitened_error_calibrated": "calibrated, whitened",
}
SMALLEST_SHOWN_ERROR = 1e-3
PANELS_PER_ROW = 9


def as_text(layers: Sequence[LayerReconstruction]) -> str:
    """A table: for each layer the cheapest ranks that keep shares of the energy, and their MACs over the dense ones."""
    calibrated = layers[0].pairs[0].whitened_error_calibrated is not None
    titles = "".join(f"{f'{energy:.0%} energy':>20}" for energy in ENERGIES)
    lines = [
        f"{'layer':40}{'weight (O I kernel)':>20}{titles}"
        + (f"  whitened error at {COMPARED_ENERGY:.0%}" if calibrated else "")
    ]
    for layer in layers:
        cheapest = "".join(f"{_ranks_and_ratio(layer, layer.cheapest(energy)):>20}" for energy in ENERGIES)
        line = f"{layer.path:40}{' '.join(map(str, layer.shape)):>20}{cheapest}"
        pair = layer.cheapest(COMPARED_ENERGY)
        if calibrated and pair is not None:
            line += f"  {pair.whitened_error_weights:.3f} -> {pair.whitened_error_calibrated:.3f}"
        lines.append(line)
    dense = sum(layer.dense.macs for layer in layers)
    totals = [sum((layer.cheapest(energy) or layer.dense).macs for layer in layers) / dense for energy in ENERGIES]
    lines.append(f"{'MACs of these layers':60}" + "".join(f"{total:>20.2f}" for total in totals))
    lines.append("Ranks (outputs x inputs) of fewest MACs that keep the share of the weights' energy, and their MACs")
    lines.append("relative to the dense layer's; dense: no cheaper ranks keep it.")
    if calibrated:
        lines.append(
            "Whitened error: relative, in the norm of the calibration; weights-only factors -> calibrated ones."
        )
    return "\n".join(map(one_line, lines))


def draw_reconstruction(layers: Sequence[LayerReconstruction], path: Path) -> None:
    """Draw heat maps of the relative errors over both ranks, side by side for each layer, as PNG.

    A red line separates the rank pairs that are cheaper than the dense layer from the others.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        OutputError: The file cannot be written.
    """
    from matplotlib.figure import Figure

    calibrated = layers[0].pairs[0].whitened_error_calibrated is not None
    maps = MAPS if calibrated else {"relative_error": MAPS["relative_error"]}
    groups = min(PANELS_PER_ROW // len(maps), len(layers))
    rows = -(-len(layers) // groups)
    figure = Figure(figsize=(1.75 * len(maps) * groups + 1.2, 2.1 * rows + 0.6), layout="constrained")
    panels = figure.subplots(rows, len(maps) * groups, squeeze=False).ravel()
    for number, layer in enumerate(layers):
        for panel, (name, words) in zip(panels[number * len(maps) :], maps.items(), strict=False):
            mesh = _draw_map(panel, layer, name)
            panel.set_xlabel(words, fontsize=7)
        panels[number * len(maps)].set_title(layer.path, fontsize=7, loc="left")
    for panel in panels[len(layers) * len(maps) :]:
        panel.set_axis_off()
    figure.supxlabel("input rank")
    figure.supylabel("output rank")
    figure.suptitle("red line: ranks beyond it are no cheaper than the dense layer", fontsize=9)
    figure.colorbar(mesh, ax=panels.tolist(), label="relative error", shrink=min(1.0, 4 / rows), extend="min")
    with written_whole(path) as beside:
        figure.savefig(beside, format="png", dpi=110)


def _draw_map(panel: Axes, layer: LayerReconstruction, name: str) -> Any:
    """Draw one heat map, in which the cell of a rank reaches from the rank before it up to itself; its mesh."""
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LogNorm

    rows, columns = (0, *layer.output_ranks), (0, *layer.input_ranks)
    colors = LogNorm(SMALLEST_SHOWN_ERROR, 1, clip=True)
    mesh = panel.pcolormesh(columns, rows, layer.grid(name), cmap="viridis_r", norm=colors)
    cheaper = layer.grid("cheaper")
    borders = [
        [(columns[j + 1], bottom), (columns[j + 1], top)]
        for i, (bottom, top) in enumerate(pairwise(rows))
        for j in range(len(columns) - 2)
        if cheaper[i, j] != cheaper[i, j + 1]
    ]
    borders += [
        [(left, rows[i + 1]), (right, rows[i + 1])]
        for j, (left, right) in enumerate(pairwise(columns))
        for i in range(len(rows) - 2)
        if cheaper[i, j] != cheaper[i + 1, j]
    ]
    panel.add_collection(LineCollection(borders, colors="red", linewidths=1.2))
    panel.set(xticks=columns[-1:], yticks=rows[-1:])
    panel.tick_params(labelsize=7)
    return mesh


def _ranks_and_ratio(layer: LayerReconstruction, pair: RankPair | None) -> str:
    if pair is None:
        return "dense"
    return f"{pair.output_rank} x {pair.input_rank}{pair.macs / layer.dense.macs:7.2f}"
