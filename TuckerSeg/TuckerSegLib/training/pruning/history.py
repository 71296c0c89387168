"""The channels of every layer after every epoch, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ...compression.channel_graph import channel_graph
from ...compression.pruning.slicing import Cut
from ...text_files import csv_text
from .settings import PruningRecord

COLUMNS = ("epoch", "layer", "input_channels", "output_channels", "threshold")


def history_csv(network: nn.Module, record: PruningRecord, patch_shape: Sequence[int], input_channels: int) -> str:
    """A table of comma-separated values, one row per epoch (0: the start) and layer that may be pruned.

    Args:
        network: The one that the training began with; the meta device will do.
        record: Of the training.
        patch_shape: (Z, Y, X) that the network can take.
        input_channels: Of its images.
    """
    graph, settings = channel_graph(network, patch_shape, input_channels), record.settings
    rows: list[tuple] = [COLUMNS]
    for number, epoch in enumerate(record.epochs):
        cut = Cut(graph, {path: range(kept) for path, kept in epoch.channels.items()})
        for path, kept in epoch.channels.items():
            inputs = len(cut.inputs(path, network.get_submodule(path).in_channels))
            limit = settings.threshold(epoch.risen[path])
            rows.append((number, path, inputs, kept, limit))
    return csv_text(rows)
