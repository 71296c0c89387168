"""How many channels every layer keeps, so that the summed error is smallest within a budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from torch import nn

from ...records.compression import Cost
from ..channel_graph import ChannelGraph

Kept = dict[str, int]  # producer to number of output channels that it keeps


class PrunedCost:
    """MACs or parameters of a network's convolutions and norms, by the numbers of channels that its layers keep.

    Args:
        network: Not touched.
        graph: Of this network.
        layers: Path to the layer's cost as it is, see ``cost.count``.
        budget: ``macs`` or ``parameters``.
    """

    def __init__(self, network: nn.Module, graph: ChannelGraph, layers: Mapping[str, Cost], budget: str):
        self._groups = graph.groups
        self._inputs, self._outputs, self._per_pair, self._per_output = {}, {}, {}, {}
        for path in (*graph.groups, *graph.kept_whole):
            conv = network.get_submodule(path)
            self._inputs[path], self._outputs[path] = conv.in_channels, conv.out_channels
            weights = math.prod(conv.weight.shape)
            counted = layers[path].macs if budget == "macs" else weights
            self._per_pair[path] = counted / (conv.in_channels * conv.out_channels)
            self._per_output[path] = 0 if budget == "macs" or conv.bias is None else 1
        for path, group in graph.groups.items():
            norms = sum(layers[norm.path].parameters > 0 for norm in group.norms if norm.path in layers)
            self._per_output[path] += 0 if budget == "macs" else 2 * norms

    def total(self, kept: Kept) -> float:
        """Of all layers."""
        inputs, outputs = dict(self._inputs), dict(self._outputs)
        for path, channels in kept.items():
            gone = self._outputs[path] - channels
            outputs[path] = channels
            for reader in self._groups[path].readers:
                inputs[reader.path] -= gone
        return sum(
            self._per_pair[path] * inputs[path] * outputs[path] + self._per_output[path] * outputs[path]
            for path in inputs
        )


def spread(
    steps: Mapping[str, list[int]],
    errors: Mapping[str, np.ndarray],
    cost: Callable[[Kept], float],
    budget: float,
) -> Kept:
    """Choose how many channels every layer keeps.

    From all channels on, always the exchange is made that saves most for the error it adds, by the costs that the
    choices so far leave (a pruned channel is gone for all that read it, and makes their own pruning save less); then
    what is left of the budget is spent on whatever exchange takes most error back.

    Args:
        steps: Layer to the numbers of channels that it may keep, all channels first, falling.
        errors: Layer to the error of each number of kept channels.
        cost: Of a choice for all layers.
        budget: What the cost may be. Where even the fewest channels cost more, those are taken.
    """
    kept = {path: choices[0] for path, choices in steps.items()}
    spent = cost(kept)
    while spent > budget:
        exchanges = []
        for path, choices in steps.items():
            for channels in choices:
                if channels < kept[path]:
                    saved = spent - cost({**kept, path: channels})
                    added = float(errors[path][channels] - errors[path][kept[path]])
                    exchanges.append((added / saved if saved > 0 else math.inf, path, channels))
        if not exchanges:
            return kept
        _, path, channels = min(exchanges)
        kept = {**kept, path: channels}
        spent = cost(kept)
    return _spend_rest(steps, errors, cost, budget, kept)


def total_error(errors: Mapping[str, np.ndarray], kept: Kept) -> float:
    """Sum of the errors of a choice for all layers."""
    return float(sum(errors[path][channels] for path, channels in kept.items()))


def _spend_rest(
    steps: Mapping[str, list[int]],
    errors: Mapping[str, np.ndarray],
    cost: Callable[[Kept], float],
    budget: float,
    kept: Kept,
) -> Kept:
    while True:
        exchanges = [
            (float(errors[path][kept[path]] - errors[path][channels]), path, channels)
            for path, choices in steps.items()
            for channels in choices
            if channels > kept[path]
            and errors[path][channels] < errors[path][kept[path]]
            and cost({**kept, path: channels}) <= budget
        ]
        if not exchanges:
            return kept
        _, path, channels = max(exchanges)
        kept = {**kept, path: channels}
