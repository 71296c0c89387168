"""The channels of every layer over the epochs of a pruning while training, as a picture."""

from __future__ import annotations

from pathlib import Path

from ..files.atomic_writes import written_whole
from ..training.pruning.settings import PruningRecord

MOST_IN_LEGEND = 30  # layers that a legend can name


def draw_channels(record: PruningRecord, path: Path) -> None:
    """Draw the share of its channels that every layer has left after each epoch, and the validation Dice, as PNG.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        OutputError: The file cannot be written.
    """
    from matplotlib.figure import Figure

    start = record.epochs[0].channels
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    channels, dice = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for layer, count in start.items():
        shares = [epoch.channels[layer] / count for epoch in record.epochs]
        channels.plot(shares, label=f"{layer} ({count} to {record.epochs[-1].channels[layer]})", linewidth=1)
    total = record.epochs[0].total_channels
    channels.plot([epoch.total_channels / total for epoch in record.epochs], color="black", label="all", linewidth=2)
    channels.set(ylabel="share of the channels left", ylim=(0, 1.03))
    if len(start) <= MOST_IN_LEGEND:
        figure.legend(*channels.get_legend_handles_labels(), loc="outside right upper", fontsize=6)
    dice.plot([epoch.validation_dice for epoch in record.epochs], color="black")
    dice.axvline(record.kept_epoch, color="red", linewidth=1)
    dice.set(ylabel="validation Dice", xlabel="epoch (red: the network that is kept)")
    with written_whole(path) as beside:
        figure.savefig(beside, format="png", dpi=110)
