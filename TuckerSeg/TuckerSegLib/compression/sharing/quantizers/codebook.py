"""What all quantizers give and take."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Settings:
    """How to quantize.

    Attributes:
        clusters: Most centers, at least 1.
        seed: Of what is drawn at random.
        nat_price: Weighted squared error that one nat (1.44 bits) of an index is worth.
    """

    clusters: int
    seed: int = 0
    nat_price: float = 0.0


@dataclass(frozen=True, eq=False)
class Codebook:
    """Centers in ascending order, and the nats that an index of each takes; None where nobody counts them."""

    centers: np.ndarray
    nats: np.ndarray | None = None
    _kept: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def kept(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What ``make`` gave when it was first asked for under a key."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]


def nearest(values: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Index of the nearest center of each value; of two as near the lower one.

    Args:
        values: (N,).
        centers: (K,), ascending.
    """
    return np.searchsorted((centers[1:] + centers[:-1]) / 2, values)


def importance_of(values: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    """The importance of each value; 1 where nothing is said."""
    return np.ones(len(values)) if importance is None else importance
