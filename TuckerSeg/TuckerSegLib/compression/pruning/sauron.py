"""Channels given up for their likeness to one another, as Sauron does it (Valverde et al. 2024, arXiv:2209.13590).

Sauron prunes while it trains. Here nothing is trained: a ladder of thresholds is climbed, and what its loss decides
there is decided by the agreement with the original network on a few patches. The distance and the thresholds are those
of the paper: feature maps, each scaled to 0..1 and pooled by 2, are compared with a random one of their layer; where
the root mean square of the difference, divided by the largest of the layer, is below the layer's threshold, the
channel goes. A layer's threshold rises where hardly any of its channels went. Where all that would go is too much for
the agreement, only the nearer half goes, and so on.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ...monitor import Monitor
from ..channel_graph import ChannelGraph, channel_graph
from ..label_agreement import agreement_of_labels
from .moments import ReaderMoments
from .slicing import Cut, slice_network

LEAST_THRESHOLD, MOST_THRESHOLD, RISES = 0.001, 0.3, 15
HARDLY_ANY = 0.02  # of a layer's channels: where fewer went, its threshold rises

_THRESHOLDS = np.linspace(LEAST_THRESHOLD, MOST_THRESHOLD, RISES + 1)


@dataclass(frozen=True, eq=False)
class Ladder:
    """Where the climb ended.

    Attributes:
        orders: Path of the convolution to a permutation (C,) of its output channels, those that went first last.
        numbers: Path to the number of channels that it keeps.
    """

    orders: dict[str, np.ndarray]
    numbers: dict[str, int]

    def to_tensors(self) -> dict[str, Tensor]:
        """Flat names to tensors, ready for a safetensors file."""
        tensors = {f"{path}/order": torch.from_numpy(order) for path, order in self.orders.items()}
        return tensors | {f"{path}/number": torch.tensor([kept]) for path, kept in self.numbers.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Ladder:
        """Rebuild it from the tensors of :meth:`to_tensors`.

        Raises:
            KeyError: A tensor is missing.
            ValueError: An order is no permutation, or a number out of its range.
        """
        orders, numbers = {}, {}
        for path in dict.fromkeys(name.rpartition("/")[0] for name in tensors):
            orders[path] = tensors[f"{path}/order"].numpy()
            (numbers[path],) = tensors[f"{path}/number"].tolist()
            if sorted(orders[path].tolist()) != list(range(len(orders[path]))):
                raise ValueError(f"the order of the channels of {path} is none")
            if not 1 <= numbers[path] <= len(orders[path]):
                raise ValueError(f"{path} cannot keep {numbers[path]} channels")
        return cls(orders, numbers)


def climb(
    network: nn.Module,
    graph: ChannelGraph,
    patches: Sequence[Tensor],
    agreement: float,
    minimum: int,
    is_enough: Callable[[dict[str, int]], bool],
    moments: ReaderMoments | None = None,
    seed: int = 0,
    monitor: Monitor | None = None,
) -> Ladder:
    """Give up channels that resemble others of their layer, as long as the network agrees with what it was.

    Args:
        network: From (1, C, Z, Y, X) to logits, or a list whose first entry they are; not changed.
        graph: Of this network.
        patches: (1, C, Z, Y, X) each.
        agreement: Least mean Dice of the labels on all patches with those of the original. A round that falls below it
            is taken back, and later ones are half as large; one with hardly any channels ends the climb.
        minimum: No layer keeps fewer channels, except where it has fewer.
        is_enough: Whether the numbers of kept channels need not fall further.
        moments: By which readers make up for what is gone; None: their weights are cut alone.
        seed: Of the channels that others are compared with.
        monitor: Hears how far thresholds have risen, and is asked after each round whether to stop.

    Raises:
        Cancelled: The monitor said so.
    """
    monitor, generator = monitor or Monitor(), torch.Generator().manual_seed(seed)
    kept = {path: list(range(group.channels)) for path, group in graph.groups.items()}
    gone: dict[str, list[int]] = {path: [] for path in kept}
    rises, at_once = dict.fromkeys(kept, 0), sum(map(len, kept.values()))
    hardly_any = HARDLY_ANY * at_once
    labels, distances = _run(network, patches, generator)
    expected = labels
    while kept:
        monitor.check()
        alike = {path: _alike(distances[path], _THRESHOLDS[rises[path]], minimum) for path in kept}
        leaving = _nearest(alike, distances, at_once)
        left = {path: [c for place, c in enumerate(kept[path]) if place not in leaving[path]] for path in kept}
        if any(leaving.values()):
            smaller = copy.deepcopy(network)
            lost = {path: places for path, places in left.items() if len(places) < graph.groups[path].channels}
            slice_network(smaller, Cut(graph, lost), moments)
            labels, new_distances = _run(smaller, patches, generator)
            if agreement_of_labels(labels, expected) < agreement:
                at_once = sum(map(len, leaving.values())) // 2
                if at_once < hardly_any:
                    break
                continue
            distances = new_distances
        still = [path for path in kept if len(alike[path]) < HARDLY_ANY * len(kept[path])]
        for path, places in leaving.items():
            gone[path] += [kept[path][place] for place in sorted(places, reverse=True)]
        kept = left
        monitor.fraction(sum(rises.values()) / (RISES * len(kept)))
        is_over = not any(leaving.values()) and all(rise == RISES for rise in rises.values())
        if is_over or is_enough({path: len(places) for path, places in kept.items()}):
            break
        rises |= {path: min(RISES, rises[path] + 1) for path in still}
    orders = {path: np.array([*kept[path], *reversed(gone[path])]) for path in kept}
    return Ladder(orders, {path: len(places) for path, places in kept.items()})


def map_distances(maps: Tensor, reference: int) -> Tensor:
    """Distances of feature maps from one of them.

    Args:
        maps: (C, Z, Y, X), after normalization and activation.
        reference: Which one.

    Returns:
        (C,) from 0 to 1; the largest is 1, unless all maps are alike.
    """
    flat = maps.flatten(1)
    low, high = flat.amin(dim=1), flat.amax(dim=1)
    scaled = (maps - low[:, None, None, None]) / (high - low).clamp(min=1e-12)[:, None, None, None]
    pooled = nn.functional.avg_pool3d(scaled, [min(2, size) for size in maps.shape[1:]])
    difference = (pooled - pooled[reference]).square().mean(dim=(1, 2, 3)).sqrt()
    return difference / difference.max().clamp(min=1e-12)


def _alike(distances: Tensor, threshold: float, minimum: int) -> set[int]:
    """Places of the channels nearer than a threshold to the reference, itself excepted, the nearest first.

    So many of them that at least ``minimum`` channels stay.
    """
    nearest = distances.argsort(stable=True).tolist()[1:]  # the first is the reference, at 0
    most = max(0, len(distances) - minimum)
    return {place for place in nearest[:most] if distances[place] < threshold}


def _nearest(alike: dict[str, set[int]], distances: dict[str, Tensor], most: int) -> dict[str, set[int]]:
    """So many of the places of all layers, those with the smallest distances."""
    every = sorted((float(distances[path][place]), path, place) for path, places in alike.items() for place in places)
    chosen: dict[str, set[int]] = {path: set() for path in alike}
    for _, path, place in every[:most]:
        chosen[path].add(place)
    return chosen


@torch.no_grad()
def _run(
    network: nn.Module, patches: Sequence[Tensor], generator: torch.Generator
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Labels (Z, Y, X) of all patches, and of every layer the mean distances of its channels from a random one."""
    groups = channel_graph(network, input_channels=patches[0].shape[1]).groups
    references = {path: int(torch.randint(group.channels, (), generator=generator)) for path, group in groups.items()}
    sums = {path: torch.zeros(group.channels) for path, group in groups.items()}
    handles = []
    for path, group in groups.items():
        first = group.readers[0]

        def add(module, inputs, path=path, begin=first.offset, channels=group.channels) -> None:
            sums[path] += map_distances(inputs[0][0, begin : begin + channels].float(), references[path]).cpu()

        handles.append(network.get_submodule(first.path).register_forward_pre_hook(add))
    labels = []
    try:
        for patch in patches:
            output = network(patch)
            logits = output[0] if isinstance(output, (list, tuple)) else output
            labels.append(logits[0].argmax(dim=0))
    finally:
        for handle in handles:
            handle.remove()
    return labels, {path: total / len(patches) for path, total in sums.items()}
