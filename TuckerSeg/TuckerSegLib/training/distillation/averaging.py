"""A moving average of a network's weights: it holds better on other volumes than the weights of any one step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..tensor_states import tensors_of


class AveragedWeights:
    """An exponential moving average of a network's parameters.

    Args:
        network: Where it begins.
        decay: Share that the average keeps of itself per step; less in the first steps, so that the start is
            forgotten. 0 follows the network.
    """

    def __init__(self, network: nn.Module, decay: float):
        self._decay = decay
        self._averages = {name: value.clone() for name, value in tensors_of(network).items()}

    @torch.no_grad()
    def add(self, network: nn.Module, step: int) -> None:
        """Take the weights after a step, by its number from 0, into the average."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, value in network.named_parameters():
            if not value.is_floating_point():
                continue  # whole numbers do not learn
            self._averages[name].lerp_(value.detach().to(self._averages[name]), 1 - decay)

    def tensors(self) -> dict[str, Tensor]:
        """Name to averaged value, on the CPU; copies."""
        return {name: value.clone() for name, value in self._averages.items()}

    def put(self, tensors: dict[str, Tensor]) -> None:
        """Go on from the average of an earlier run, as :meth:`tensors` gave it."""
        self._averages = {name: tensors[name].clone() for name in self._averages}
