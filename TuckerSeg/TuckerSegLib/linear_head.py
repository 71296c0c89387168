"""The last layer of a segmentation network where it is linear: one matrix that makes logits of features.

A 1x1x1 convolution does the same in every voxel, so it commutes with averaging patches and with linear resampling: it
may be applied after them, once per output voxel, or only where it is needed. Knows tensors; nothing of networks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Head:
    """A 1x1x1 convolution from F features to L logits: ``logits = weight @ features + bias`` in every voxel.

    ``weight, bias = head`` unpacks it.

    Attributes:
        weight: (L, F).
        bias: (L,); None adds nothing.
        path: The convolution's path in the network that it was taken from; empty where it is not known.
    """

    weight: Tensor
    bias: Tensor | None = None
    path: str = ""

    def __iter__(self) -> Iterator[Tensor | None]:
        return iter((self.weight, self.bias))

    def __call__(self, features: Tensor) -> Tensor:
        """Logits of features.

        Args:
            features: Of single voxels, (F, N), or of patches, (B, F, Z, Y, X).

        Returns:
            (L, N) or (B, L, Z, Y, X).
        """
        if features.ndim == 2:
            logits = self.weight @ features
        else:
            logits = torch.einsum("lf,bf...->bl...", self.weight, features)
        return logits if self.bias is None else logits + self.bias.view(-1, *[1] * max(1, features.ndim - 2))

    def to(self, device: torch.device | str) -> Head:
        """The same head on another device."""
        return Head(self.weight.to(device), None if self.bias is None else self.bias.to(device), self.path)
