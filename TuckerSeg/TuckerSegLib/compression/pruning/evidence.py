"""What pruning each group of channels to each number costs, in the unit of calibrated Tucker ranks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ...monitor import Monitor
from ..channel_graph import ChannelGraph, ChannelGroup
from .elimination import ReaderLoss, eliminate
from .moments import ReaderMoments


@dataclass(frozen=True, eq=False)
class PruningEvidence:
    """Errors of all numbers of kept channels, and which channels those are.

    Attributes:
        errors: Path of the convolution to errors (C + 1,), index = output channels that it keeps: the squared change of
            the logits relative to their energy, as in ``tucker.RankEvidence``, after its readers have made up for what
            is gone. Errors of different convolutions add up.
        orders: Path to a permutation (C,) of its output channels: the first n are those that are kept when n are.
    """

    errors: dict[str, np.ndarray]
    orders: dict[str, np.ndarray]

    def plus(self, other: PruningEvidence) -> PruningEvidence:
        """The evidence of two networks that keep the same numbers of channels: errors added, this one's orders."""
        return PruningEvidence({path: row + other.errors[path] for path, row in self.errors.items()}, self.orders)

    def kept(self, path: str, channels: int) -> list[int]:
        """Which output channels a convolution keeps, where it keeps a number of them; ascending."""
        return sorted(self.orders[path][:channels].tolist())

    def to_tensors(self) -> dict[str, Tensor]:
        """Flat names to tensors, ready for a safetensors file."""
        tensors = {f"{path}/errors": torch.from_numpy(row) for path, row in self.errors.items()}
        return tensors | {f"{path}/order": torch.from_numpy(row) for path, row in self.orders.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> PruningEvidence:
        """Rebuild evidence from the tensors of :meth:`to_tensors`.

        Raises:
            KeyError: A tensor is missing.
            ValueError: An order is no permutation, or does not fit its errors.
        """
        errors, orders = {}, {}
        for path in dict.fromkeys(name.rpartition("/")[0] for name in tensors):
            errors[path], orders[path] = tensors[f"{path}/errors"].numpy(), tensors[f"{path}/order"].numpy()
            if sorted(orders[path].tolist()) != list(range(len(errors[path]) - 1)):
                raise ValueError(f"the order of the channels of {path} does not fit their errors")
        return cls(errors, orders)


def gather(
    network: nn.Module, graph: ChannelGraph, moments: ReaderMoments, monitor: Monitor | None = None
) -> PruningEvidence:
    """Eliminate the channels of every group of a network, one group at a time.

    Args:
        network: Read only.
        graph: Of this network.
        moments: Of the layers that read channels.
        monitor: Hears the fraction of the groups done, and is asked after each whether to stop.

    Raises:
        SpecError: The moments are those of another network.
        Cancelled: The monitor said so.
    """
    monitor, errors, orders = monitor or Monitor(), {}, {}
    for number, (path, group) in enumerate(graph.groups.items(), start=1):
        order, row = eliminate(_losses(network, group, moments), group.channels)
        errors[path], orders[path] = row.numpy(), order.numpy()
        monitor.fraction(number / len(graph.groups))
    return PruningEvidence(errors, orders)


def _losses(network: nn.Module, group: ChannelGroup, moments: ReaderMoments) -> list[ReaderLoss]:
    losses = []
    for reader in group.readers:
        places = torch.arange(reader.offset, reader.offset + group.channels)
        weight = moments.scaled_weight(network, reader.path)[:, places]
        losses.append(ReaderLoss(weight, moments.among(network, reader.path, places)))
    return losses
