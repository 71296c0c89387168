"""A network in two parts, on a device and in the memory layout that is fast there."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ...linear_head import Head
from .single_image_norms import put_single_image_norms

LAYOUT = torch.channels_last_3d  # gradients of half precision take two thirds of the time so, on a CPU


class LearningHead(nn.Module):
    """Stands for a head in a network, and learns with it: the network gives features, of which logits are made apart.

    Its parameters keep their names. What a crop's logits would cost, forward and backward, only some voxels' do.

    Args:
        head: The 1x1x1 convolution whose parameters these are.
    """

    def __init__(self, head: nn.Module):
        super().__init__()
        self.weight, self.bias = head.weight, head.bias

    def forward(self, features: Tensor) -> Tensor:
        """The features, unchanged."""
        return features


@dataclass(frozen=True, eq=False)
class SplitNetwork:
    """A network in two parts: all but its head, and its head, which is linear.

    Attributes:
        network: From (1, C, Z, Y, X) to features (1, F, Z, Y, X), or to logits.
        head: Makes logits of the features; None where the network gives logits, or holds a LearningHead.
    """

    network: nn.Module
    head: Head | None = None

    def logits(self, features: Tensor) -> Tensor:
        """Logits (L, N) of what the network gives in N voxels, (F, N)."""
        head = self.head
        if head is None:
            learning = next((each for each in self.network.modules() if isinstance(each, LearningHead)), None)
            head = learning and Head(learning.weight.flatten(1), learning.bias)
        return features if head is None else head(features)

    def to(self, device: torch.device) -> SplitNetwork:
        """A copy of both parts on a device; this one stays as it is."""
        return SplitNetwork(_copied(self.network, device), None if self.head is None else self.head.to(device))


def _copied(network: nn.Module, device: torch.device) -> nn.Module:
    """A copy of a network on a device, in the memory layout that is fast there."""
    copied = copy.deepcopy(network).to(device, memory_format=LAYOUT)
    return put_single_image_norms(copied) if device.type == "cpu" else copied


def labels_of(network: SplitNetwork, crop: Tensor) -> np.ndarray:
    """Labels (Z, Y, X) that a network gives to a crop (1, C, Z, Y, X)."""
    features = network.network(crop)[0]
    labels = highest(network.logits(features.flatten(1).float()))
    return labels.reshape(features.shape[1:]).cpu().numpy()


def highest(logits: Tensor) -> Tensor:
    """The label (N,) of the highest logit of (L, N)."""
    return logits.T.contiguous().argmax(dim=1)  # along memory, which takes a third of the time on a CPU


def picked(features: Tensor, voxels: Tensor) -> Tensor:
    """Features (F, M) of some voxels, by their indices (M,), of all (F, N); their gradients are summed faster so."""
    return features.T.index_select(0, voxels).T
