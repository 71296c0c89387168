"""Shows an accuracy curve as text and as a picture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..files.atomic_writes import written_whole
from .accuracy_curve import CurvePoint

NOTES = (
    "agreement: mean Dice against the original network, structures of 20 voxels or more",
    "share: of the original's seconds in these runs; predicted by the times of layers; timed: of a patch, when chosen",
)


def as_text(points: Sequence[CurvePoint]) -> str:
    """The curve as text, a line per policy and factor, with the agreement on volumes calibrated on and on others."""
    width = max(12, *(len(point.policy) + 2 for point in points)) if points else 12
    title = (
        f"{'policy':{width}}{'factor':>7}{'GMACs':>9}{'M param.':>10}{'MB':>9}{'network s':>11}{'share':>7}"
        f"{'predicted':>10}{'timed':>7}{'calibrated on':>15}{'on others':>10}"
    )
    lines = [title]
    for (policy, factor), group in _grouped(points).items():
        seconds = sum(point.network_seconds for point in group)
        on_calibrated, on_others = (
            _mean(point.agreement for point in group if point.calibrated is calibrated) for calibrated in (True, False)
        )
        lines.append(
            f"{policy:{width}}{factor:7.2f}{group[0].macs_per_patch / 1e9:9.2f}{group[0].parameters / 1e6:10.3f}"
            f"{group[0].model_bytes / 1e6:9.3f}{seconds:11.2f}{_share(group):>7}{_share(group, 'predicted_share'):>10}"
            f"{_share(group, 'measured_share'):>7}{_number(on_calibrated):>15}{_number(on_others):>10}"
        )
    return "\n".join([*lines, *NOTES])


def _share(points: Sequence[CurvePoint], name: str = "network_share") -> str:
    """A share of the original's time, mean of the volumes; nothing where it is not known."""
    shares = [share for point in points if (share := getattr(point, name)) is not None]
    return f"{sum(shares) / len(shares):.2f}" if shares else ""


def draw_curve(points: Sequence[CurvePoint], path: Path) -> None:
    """Agreement over operations per patch, one panel per volume, one line per policy, as PNG.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        OutputError: The file cannot be written.
    """
    from matplotlib.figure import Figure

    volumes = list(dict.fromkeys(point.volume for point in points))
    figure = Figure(figsize=(4.2 * len(volumes), 3.8), layout="constrained")
    panels = figure.subplots(1, len(volumes), sharey=True, squeeze=False)[0]
    policies = [name for name in dict.fromkeys(point.policy for point in points) if name != "original"]
    for panel, volume in zip(panels, volumes):
        for policy in policies:
            curve = [point for point in points if (point.volume, point.policy) == (volume, policy)]
            curve.sort(key=lambda point: point.macs_per_patch)  # factors are measured in any order
            label = f"{policy}, calibrated on it" if curve[0].calibrated else policy
            panel.plot([p.macs_per_patch / 1e9 for p in curve], [p.agreement for p in curve], marker="o", label=label)
        panel.set(title=volume, xlabel="GMACs per patch", ylim=(0, 1.02))
        panel.grid(alpha=0.3)
        panel.legend(loc="lower right", fontsize=8)
    panels[0].set_ylabel("agreement with the original")
    with written_whole(path) as beside:
        figure.savefig(beside, format="png", dpi=110)


def _grouped(points: Sequence[CurvePoint]) -> dict[tuple[str, float], list[CurvePoint]]:
    groups: dict[tuple[str, float], list[CurvePoint]] = {}
    for point in points:
        groups.setdefault((point.policy, point.factor), []).append(point)
    return groups


def _mean(values: Iterator[float]) -> float:
    numbers = [value for value in values if not math.isnan(value)]
    return sum(numbers) / len(numbers) if numbers else math.nan


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"
