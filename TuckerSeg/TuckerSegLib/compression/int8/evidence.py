"""What rounding each layer costs, in the unit that all methods share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

_PREFIX = "error/"


@dataclass(frozen=True)
class Int8Evidence:
    """Errors of layers in whole numbers of eight bits.

    Attributes:
        errors: Path of a layer that can be quantized to the squared change of the logits that rounding its weight and
            its inputs makes, relative to the logits' energy: the unit of ``tucker.RankEvidence``. They add up.
    """

    errors: dict[str, float]

    def plus(self, other: Int8Evidence) -> Int8Evidence:
        """The evidence of two networks of one structure whose layers are quantized together: errors added."""
        return Int8Evidence({path: error + other.errors[path] for path, error in self.errors.items()})

    def to_tensors(self) -> dict[str, Tensor]:
        """Flat names to tensors, ready for a safetensors file."""
        return {f"{_PREFIX}{path}": torch.tensor(error, dtype=torch.float64) for path, error in self.errors.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Int8Evidence:
        """The evidence among tensors; others are passed over."""
        return cls({name[len(_PREFIX) :]: float(each) for name, each in tensors.items() if name.startswith(_PREFIX)})
