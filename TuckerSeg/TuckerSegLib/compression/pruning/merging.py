"""Channels merged with those whose filters are alike, as C-SGD ends its training (Ding et al. 2019, arXiv:1904.03837).

The filters of a layer are put into as many clusters as channels are to be kept. A cluster's mean takes the place of its
filters, and the weights of those that read them are summed over it: where filters were the same, nothing changes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from ..channel_graph import ChannelGraph, ChannelGroup
from .moments import output_first
from .slicing import Cut, slice_network

SWEEPS = 20  # of Lloyd's algorithm


@torch.no_grad()
def merge_network(network: nn.Module, graph: ChannelGraph, kept: Mapping[str, int]) -> None:
    """Merge channels, in place. Tensors that the network shares with others stay as they are.

    Args:
        network: Changed in place, at every alias.
        graph: Of this network.
        kept: Producer to the number of output channels that it keeps, fewer than it has.
    """
    clusters = {path: clusters_of(network, graph.groups[path], channels) for path, channels in kept.items()}
    for path, members in clusters.items():
        _merge(network, graph.groups[path], members)
    slice_network(
        network, Cut(graph, {path: [each[0] for each in members] for path, members in clusters.items()}), None
    )


def clusters_of(network: nn.Module, group: ChannelGroup, count: int) -> list[list[int]]:
    """Clusters of a layer's filters by k-means, from centers that lie farthest from one another.

    Args:
        network: Read only.
        group: The layer's channels.
        count: Of clusters, at most as many as channels.

    Returns:
        Ascending indices of output channels in each; clusters in the order of their first one.
    """
    filters = output_first(network.get_submodule(group.producer)).flatten(1)
    chosen = [int(filters.norm(dim=1).argmax())]
    while len(chosen) < count:
        apart = torch.cdist(filters, filters[chosen]).amin(dim=1)
        apart[chosen] = -1.0
        chosen.append(int(apart.argmax()))
    centers = filters[chosen].clone()
    for _ in range(SWEEPS):
        nearest = torch.cdist(filters, centers).argmin(dim=1)
        nearest[chosen] = torch.arange(count)  # a cluster keeps the filter that it began with, so that none is empty
        centers = torch.stack([filters[nearest == number].mean(dim=0) for number in range(count)])
    members = [(nearest == number).nonzero().flatten().tolist() for number in range(count)]
    return sorted(members, key=lambda each: each[0])


def _merge(network: nn.Module, group: ChannelGroup, clusters: list[list[int]]) -> None:
    """Give the first channel of each cluster the mean of all, and its readers the sum of their weights."""
    producer = network.get_submodule(group.producer)
    _first_gets(producer, "weight", 1 if producer.transposed else 0, 0, clusters, torch.mean)
    _first_gets(producer, "bias", 0, 0, clusters, torch.mean)
    for norm in group.norms:
        for name in ("weight", "bias", "running_mean", "running_var"):
            _first_gets(network.get_submodule(norm.path), name, 0, norm.offset, clusters, torch.mean)
    for reader in group.readers:
        module = network.get_submodule(reader.path)
        _first_gets(module, "weight", 0 if module.transposed else 1, reader.offset, clusters, torch.sum)


def _first_gets(module: nn.Module, name: str, axis: int, offset: int, clusters: list[list[int]], together) -> None:
    old = getattr(module, name, None)
    if old is None:
        return
    new = old.detach().clone()
    for members in clusters:
        places = torch.tensor(members, device=new.device) + offset
        new.select(axis, members[0] + offset).copy_(together(old.index_select(axis, places), dim=axis))
    if isinstance(old, nn.Parameter):
        module.register_parameter(name, nn.Parameter(new, old.requires_grad))
    else:
        module.register_buffer(name, new)
