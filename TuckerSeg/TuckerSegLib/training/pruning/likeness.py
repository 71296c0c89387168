"""How alike the feature maps of a layer are: what is trained to be small, and what decides which channels go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from ...compression.channel_graph import ChannelGraph
from ...compression.pruning.sauron import map_distances

_LEAST = 1e-12  # below which a range or a square counts as none


class GroupMaps:
    """Keeps the feature maps of every layer that may be pruned, as its first reader gets them, of the latest run.

    Args:
        network: Gets hooks until :meth:`close`.
        graph: Of this network.
    """

    def __init__(self, network: nn.Module, graph: ChannelGraph):
        self._maps: dict[str, Tensor] = {}
        self._handles = []
        for path, group in graph.groups.items():
            first = group.readers[0]
            self._handles.append(self._watch(network.get_submodule(first.path), path, first.offset, group.channels))

    def _watch(self, reader: nn.Module, path: str, offset: int, channels: int):
        def keep(module: nn.Module, inputs: tuple) -> None:
            self._maps[path] = inputs[0][:, offset : offset + channels]

        return reader.register_forward_pre_hook(keep)

    def take(self) -> dict[str, Tensor]:
        """Path to maps (B, C, Z, Y, X) of the latest run; they are kept no longer."""
        maps, self._maps = self._maps, {}
        return maps

    def close(self) -> None:
        """Take the hooks off the network."""
        for handle in self._handles:
            handle.remove()


def regularizer(maps: Mapping[str, Tensor]) -> Tensor:
    """Mean over layers of how far their feature maps are from the first one of their layer (Sauron's delta_opt).

    Every map is scaled to 0..1 and pooled by 2; its distance is the root mean square of the difference. Layers of one
    channel do not count.

    Args:
        maps: Path to (B, C, Z, Y, X).

    Returns:
        A scalar with gradients; 0 where no layer counts.
    """
    layers = [_mean_distance(each) for each in maps.values() if each.shape[1] > 1]
    return torch.stack(layers).mean() if layers else torch.zeros(())


def _mean_distance(maps: Tensor) -> Tensor:
    """Mean distance of all maps (B, C, Z, Y, X) but the first from the first."""
    flat = maps.flatten(2)
    low, high = (edge.values.float()[:, :, None, None, None] for edge in (flat.min(dim=2), flat.max(dim=2)))
    # Pooled first and scaled then, which is the same: an eighth of the numbers, forward and backward.
    pooled = nn.functional.avg_pool3d(maps.float(), [min(2, size) for size in maps.shape[2:]])
    scaled = (pooled - low) / (high - low).clamp(min=_LEAST)
    squares = (scaled[:, 1:] - scaled[:, :1]).square().mean(dim=(2, 3, 4))
    return squares.clamp(min=_LEAST).sqrt().mean()  # the root of nothing would have no gradient


@torch.no_grad()
def distances(
    network: nn.Module, graph: ChannelGraph, images: Iterable[Tensor], references: Mapping[str, int]
) -> dict[str, Tensor]:
    """Mean distance of every channel of every layer from a reference channel of it (Sauron's delta_prune).

    Args:
        network: Left in evaluation mode.
        graph: Of this network.
        images: (B, C, Z, Y, X) each, on the network's device.
        references: Path of a layer to the channel that others are compared with.

    Returns:
        Path to (C,) on the CPU, from 0 (the reference) to 1.
    """
    network.eval()
    maps, sums, count = GroupMaps(network, graph), {}, 0
    try:
        for batch in images:
            network(batch)
            for path, each in maps.take().items():
                own = sum(map_distances(sample.float(), references[path]) for sample in each).cpu()
                sums[path] = sums[path] + own if path in sums else own
            count += len(batch)
    finally:
        maps.close()
    return {path: total / count for path, total in sums.items()}


def staying(distance: Tensor, reference: int, threshold: float) -> list[int]:
    """Which channels stay, ascending: the reference, and those at least a threshold away from it.

    Args:
        distance: (C,) from the reference.
        reference: Which one that is.
        threshold: Nearer ones go.
    """
    return [place for place, far in enumerate(distance.tolist()) if place == reference or far >= threshold]
