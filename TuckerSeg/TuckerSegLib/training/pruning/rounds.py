"""Which channels go after an epoch: those that are alike, as far as a round may cost; and by what readers make up."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ...compression.calibration import LayerMoments
from ...compression.channel_graph import ChannelGraph
from ...compression.pruning.moments import ReaderMoments
from ...compression.pruning.slicing import Cut, slice_network
from .likeness import distances, staying

SHRINKAGE = 0.01  # of the mean diagonal: a few patches say little of how hundreds of deep channels hang together

Kept = dict[str, list[int]]
Tries = dict[str, list[list[int]]]


def alike(
    network: nn.Module,
    graph: ChannelGraph,
    images: Sequence[Tensor],
    references: Mapping[str, int],
    thresholds: Mapping[str, float],
    tries: int = 1,
) -> Tries:
    """The channels that stay of every layer that has some nearer to a reference than its threshold.

    Args:
        network: Left in evaluation mode.
        graph: Of this network.
        images: (B, C, Z, Y, X) each, on the network's device.
        references: Path of a layer to the channel that others are compared with.
        thresholds: Path to the distance below which channels go.
        tries: How many proposals there may be per layer: without all of these channels, without the nearer half of
            them, without a quarter and so on.

    Returns:
        Path to proposals, ascending indices each, fewer than the layer has; layers that lose none are not there.
    """
    kept = {}
    for path, distance in distances(network, graph, images, references).items():
        places = staying(distance, references[path], thresholds[path])
        near = sorted(set(range(len(distance))) - set(places), key=distance.tolist().__getitem__)
        counts = [len(near) >> number for number in range(tries) if len(near) >> number]
        if counts:
            kept[path] = [sorted({*places, *near[count:]}) for count in counts]
    return kept


def affordable(
    network: nn.Module,
    graph: ChannelGraph,
    tries: Tries,
    moments: ReaderMoments | None,
    dice: Callable[[nn.Module], float],
    most: float,
) -> Kept:
    """Of what would go, what costs at most so much Dice in all; layers that lose most channels come first.

    Args:
        network: Read only.
        graph: Of this network.
        tries: Path to proposals of the channels that would stay, each asked for where the one before is too dear.
        moments: By which readers make up for what is gone; None: they do not.
        dice: Of a network, on some patches.
        most: What the round may cost.

    Returns:
        Path to the channels that stay, of what is carried out; the other layers keep all their channels.
    """
    before, chosen = dice(network), {}
    for path in sorted(tries, key=lambda each: len(tries[each][0]) - graph.groups[each].channels):
        for kept in tries[path]:
            smaller = copy.deepcopy(network)
            slice_network(smaller, Cut(graph, {**chosen, path: kept}), moments)
            if dice(smaller) >= before - most:
                chosen[path] = kept
                break
    return chosen


@torch.no_grad()
def reader_moments(network: nn.Module, graph: ChannelGraph, images: Sequence[Tensor]) -> ReaderMoments:
    """Second moments of what every layer reads whose inputs may go, by which it makes up for them.

    Args:
        network: Left in evaluation mode.
        graph: Of this network.
        images: (B, C, Z, Y, X) each, on the network's device.
    """
    network.eval()
    sums: dict[str, Tensor] = {}

    def adding(path: str) -> Callable:
        def add(module: nn.Module, inputs: tuple) -> None:
            maps = inputs[0].float().transpose(0, 1).flatten(1)  # (C, B Z Y X)
            with torch.autocast(maps.device.type, enabled=False):
                own = (maps @ maps.T).double().cpu()
            sums[path] = sums[path] + own if path in sums else own

        return add

    paths = {reader.path for group in graph.groups.values() for reader in group.readers}
    handles = [network.get_submodule(path).register_forward_pre_hook(adding(path)) for path in sorted(paths)]
    try:
        for batch in images:
            network(batch)
    finally:
        for handle in handles:
            handle.remove()
    return ReaderMoments({path: _layer(network.get_submodule(path), each) for path, each in sums.items()}, 1.0)


def _layer(conv: nn.Module, moment: Tensor) -> LayerMoments:
    """The moments of a reader; of what its errors do nothing is known."""
    moment = moment + SHRINKAGE * moment.diagonal().mean() * torch.eye(len(moment), dtype=moment.dtype)
    count = conv.out_channels
    return LayerMoments(moment, torch.eye(count, dtype=moment.dtype), torch.ones(count, dtype=moment.dtype))
