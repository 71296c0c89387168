"""Linear layers seen as what they are to a method of convolutions: kernels of one tap, laid at each token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from .layers import convolutions


@dataclass(frozen=True, eq=False)
class LinearView:
    """A linear layer with the attributes of the 1x1x1 convolution that computes the same.

    Attributes:
        module: The layer, as the network holds it.
    """

    kernel_size: ClassVar[tuple[int, int, int]] = (1, 1, 1)
    stride: ClassVar[tuple[int, int, int]] = (1, 1, 1)
    dilation: ClassVar[tuple[int, int, int]] = (1, 1, 1)
    padding: ClassVar[tuple[int, int, int]] = (0, 0, 0)
    groups: ClassVar[int] = 1
    transposed: ClassVar[bool] = False

    module: nn.Linear

    @property
    def in_channels(self) -> int:
        """I."""
        return self.module.in_features

    @property
    def out_channels(self) -> int:
        """O."""
        return self.module.out_features

    @property
    def weight(self) -> Tensor:
        """(O, I, 1, 1, 1), of the layer's own memory."""
        return self.module.weight[:, :, None, None, None]

    @property
    def bias(self) -> Tensor | None:
        """(O,), or None."""
        return self.module.bias

    def parameters(self) -> Iterator[nn.Parameter]:
        """The layer's own."""
        return self.module.parameters()


Weighted = nn.Conv3d | nn.ConvTranspose3d | LinearView


def weighted_layers(network: nn.Module) -> dict[str, Weighted]:
    """Path to every 3D convolution and transposed convolution, then to every linear layer, in the network's order."""
    linear = {path: LinearView(each) for path, each in network.named_modules() if isinstance(each, nn.Linear)}
    return convolutions(network) | linear


def as_voxels(values: Tensor) -> Tensor:
    """Tokens (B, ..., C) as voxels in a row, (B, C, N, 1, 1)."""
    return values.flatten(1, -2).transpose(1, 2)[..., None, None]


def module_of(layer: Weighted) -> nn.Module:
    """A layer as the network holds it."""
    return layer.module if isinstance(layer, LinearView) else layer


def kind_of_layer(layer: Weighted) -> str:
    """Name of a layer's class, as ``Conv3d`` or ``Linear``."""
    return type(module_of(layer)).__name__
