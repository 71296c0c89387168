"""Shows what the step of the patches costs and saves, as text and as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from ..files.atomic_writes import written_whole
from ..segmentation.step_fractions import StepPoint


def steps_as_text(points: Sequence[StepPoint]) -> str:
    """A line per weights and step fraction: sums of patches and seconds, the largest memory, the mean agreement."""
    lines = [f"{'weights':10}{'step':>6}{'patches':>9}{'network s':>11}{'total s':>9}{'GB':>7}{'agreement':>11}"]
    for weights, step in dict.fromkeys((point.weights, point.step_fraction) for point in points):
        group = [point for point in points if (point.weights, point.step_fraction) == (weights, step)]
        known = [point.agreement for point in group if not math.isnan(point.agreement)]
        lines.append(
            f"{weights:10}{step:6.2f}{sum(point.patches for point in group):9}"
            f"{sum(point.network_seconds for point in group):11.2f}{sum(point.total_seconds for point in group):9.2f}"
            f"{max(point.peak_memory_bytes for point in group) / 1e9:7.2f}"
            f"{sum(known) / len(known) if known else math.nan:11.4f}"
        )
    note = "agreement: mean Dice against step 0.50 with Gaussian weights, structures of 20 voxels or more"
    return "\n".join([*lines, note])


def draw_steps(points: Sequence[StepPoint], path: Path) -> None:
    """Agreement over the patches that were run, one panel per volume, one line per weights, as PNG.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        OutputError: The file cannot be written.
    """
    from matplotlib.figure import Figure

    volumes = list(dict.fromkeys(point.volume for point in points))
    figure = Figure(figsize=(4.2 * len(volumes), 3.8), layout="constrained")
    panels = figure.subplots(1, len(volumes), sharey=True, squeeze=False)[0]
    for panel, volume in zip(panels, volumes):
        for weights in dict.fromkeys(point.weights for point in points):
            curve = [point for point in points if (point.volume, point.weights) == (volume, weights)]
            curve.sort(key=lambda point: point.step_fraction)
            panel.plot([p.patches for p in curve], [p.agreement for p in curve], marker="o", label=weights)
            for place in dict.fromkeys((point.patches, point.agreement) for point in curve):
                steps = [f"{p.step_fraction:g}" for p in curve if (p.patches, p.agreement) == place]
                panel.annotate(", ".join(steps), place, fontsize=8, xytext=(4, 4), textcoords="offset points")
        panel.set(title=volume, xlabel="patches, which take equal time")
        panel.margins(x=0.15, y=0.15)
        panel.grid(alpha=0.3)
        panel.legend(loc="best", fontsize=8)
    panels[0].set_ylabel("agreement with step 0.5")
    with written_whole(path) as beside:
        figure.savefig(beside, format="png", dpi=110)
