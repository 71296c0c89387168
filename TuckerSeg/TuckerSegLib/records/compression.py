"""Records of a compression: costs, changes of layers, recipes. A method's own fields stand in plain dictionaries."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar

BITS = 32  # of a weight where nothing else is said


@dataclass(frozen=True)
class Cost:
    """The cost of a layer or a network for one patch. Costs can be added and subtracted.

    Attributes:
        parameters: Number of values that are stored.
        macs: Multiply-accumulates of the convolutions. 1 MAC = 2 FLOPs.
        norm_elements: Elements that go through normalization layers. The Tucker paper's "FLOPs"
            (fvcore's) are ``macs + 5 * norm_elements``.
        weight_bits: Bits of all these values together; None takes 32 for each.

    >>> Cost(parameters=10, macs=100, weight_bits=80) - Cost(parameters=2, macs=40, weight_bits=16)
    Cost(parameters=8, macs=60, norm_elements=0, weight_bits=64)
    """

    parameters: int
    macs: int
    norm_elements: int = 0
    weight_bits: int | None = None

    def __post_init__(self) -> None:
        if self.weight_bits is None:
            object.__setattr__(self, "weight_bits", BITS * self.parameters)

    @property
    def paper_flops(self) -> int:
        """Operations as the Tucker paper counts them."""
        return self.macs + 5 * self.norm_elements

    @property
    def bits_per_weight(self) -> float:
        """Mean over all values; 32 where there are none."""
        return self.weight_bits / self.parameters if self.parameters else float(BITS)

    @property
    def weight_bytes(self) -> int:
        """Bytes that the values take."""
        return -(-self.weight_bits // 8)

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(own + more for own, more in zip(dataclasses.astuple(self), dataclasses.astuple(other))))

    def __sub__(self, other: Cost) -> Cost:
        return Cost(*(own - less for own, less in zip(dataclasses.astuple(self), dataclasses.astuple(other))))


@dataclass(frozen=True)
class LayerChange:
    """The decision of a method for one layer.

    Attributes:
        path: Name of the module in the network, the first of its aliases.
        kind: Name of its class, as ``Conv3d`` or ``ConvTranspose3d``.
        shape: Weight shape, (O, I, kz, ky, kx); transposed (I, O, ...).
        before, after: Cost for one patch.
        skipped_because: Why the layer stays as it is; None where it is changed.
        details: All else that the method needs to build the changed layer, in JSON types.
    """

    VERSION: ClassVar[int] = 3

    path: str
    kind: str
    shape: tuple[int, ...]
    before: Cost
    after: Cost
    skipped_because: str | None = None
    details: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def upgraded(cls, document: dict[str, Any]) -> dict[str, Any]:
        """The JSON of this version from that of versions 1 and 2, whose details stood beside the other fields."""
        if document.get("version", 1) > 2 or "details" in document:
            return document
        common = {"version", *(each.name for each in dataclasses.fields(cls))}
        details = {name: value for name, value in document.items() if name not in common}
        return {**{name: value for name, value in document.items() if name in common}, "details": details}


@dataclass(frozen=True)
class CompressionRecipe:
    """One step of a network's compression or training: enough to rebuild the structure after it, without weights.

    Attributes:
        method: Name in ``compression.METHODS``, or of a training where no layer was changed.
        spec: The method's ``Spec`` as JSON.
        changes: One entry per layer that was looked at, in the network's order; none where weights alone were changed.
    """

    VERSION: ClassVar[int] = 1

    method: str
    spec: dict[str, Any]
    changes: tuple[LayerChange, ...]
