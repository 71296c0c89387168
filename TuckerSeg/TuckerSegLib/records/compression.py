"""Records of what a compression did."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Cost:
    """What a layer or a network costs for one patch.

    Attributes:
        parameters: Number of trainable values.
        macs: Multiply-accumulates of the convolutions. 1 MAC = 2 FLOPs.
        norm_elements: Elements that go through normalization layers. The Tucker paper's "FLOPs"
            (fvcore's) are ``macs + 5 * norm_elements``.
    """

    parameters: int
    macs: int
    norm_elements: int = 0

    @property
    def paper_flops(self) -> int:
        return self.macs + 5 * self.norm_elements

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.parameters + other.parameters, self.macs + other.macs, self.norm_elements + other.norm_elements
        )


@dataclass(frozen=True)
class LayerChange:
    """What a method decided for one convolution.

    Attributes:
        path: Name of the module in the network, the first of its aliases.
        kind: ``Conv3d`` or ``ConvTranspose3d``.
        shape: Weight shape, (O, I, kz, ky, kx); transposed (I, O, ...).
        ranks: (output rank r, input rank s), or None where the layer stays dense.
        before, after: Cost for one patch.
        skipped_because: Why the layer stays dense; None where it is changed.
        sweeps: Sweeps of higher-order orthogonal iteration that polish the factors at these ranks.
        merged: A factor at full rank is part of the core instead of being a layer of its own.
    """

    VERSION: ClassVar[int] = 2

    path: str
    kind: str
    shape: tuple[int, ...]
    ranks: tuple[int, int] | None
    before: Cost
    after: Cost
    skipped_because: str | None = None
    sweeps: int = 0
    merged: bool = False


@dataclass(frozen=True)
class CompressionRecipe:
    """Enough to rebuild a compressed network's structure without its weights.

    Attributes:
        method: Name in ``compression.METHODS``.
        spec: The method's ``Spec`` as JSON.
        changes: One entry per convolution, in the network's order.
    """

    VERSION: ClassVar[int] = 1

    method: str
    spec: dict[str, typing.Any]
    changes: tuple[LayerChange, ...]
