"""What layers cost on one device: seconds per unit of each kind of work. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

Work = Mapping[str, float]  # term, as ``kernel.gmacs``, to how much of it a layer or a network has


@dataclass(frozen=True)
class LayerTimes:
    """Seconds per unit of work on one device, fitted to measurements of layers.

    Attributes:
        precision: In which the network runs: ``fp32``, ``bf16`` or ``fp16``.
        seconds: Term to seconds per unit; never negative. What a term counts says ``compression.layer_work``.

    >>> LayerTimes("fp32", {"kernel.gmacs": 0.01}).of({"kernel.gmacs": 3.0, "norm.elements": 2.0})
    0.03
    """

    VERSION: ClassVar[int] = 1

    precision: str
    seconds: dict[str, float] = field(default_factory=dict)

    def of(self, work: Work) -> float:
        """Seconds of some work; terms that were never measured cost nothing."""
        return sum(self.seconds.get(term, 0.0) * amount for term, amount in work.items())
