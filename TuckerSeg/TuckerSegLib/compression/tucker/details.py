"""What a Tucker-2 compression writes into ``LayerChange.details``, and reads from there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...errors import ModelFileError
from ...printable import excerpt
from ...records.compression import LayerChange
from .spec import MOST_SWEEPS


@dataclass(frozen=True)
class TuckerDetails:
    """How one convolution is compressed.

    Attributes:
        ranks: (output rank r, input rank s), or None where the layer stays dense.
        sweeps: Sweeps of higher-order orthogonal iteration that polish the factors at these ranks.
        merged: A factor at full rank is part of the core instead of being a layer of its own.
    """

    ranks: tuple[int, int] | None
    sweeps: int = 0
    merged: bool = False

    @classmethod
    def from_change(cls, change: LayerChange) -> TuckerDetails:
        """Read the ``details`` of a change that this method has planned.

        Raises:
            ModelFileError: The details are not those of a Tucker compression.
        """
        details = {**change.details}
        ranks, sweeps, merged = details.get("ranks"), details.get("sweeps", 0), details.get("merged", False)
        is_pair = isinstance(ranks, (list, tuple)) and len(ranks) == 2 and all(_is_count(rank, 1) for rank in ranks)
        if not (
            (ranks is None or is_pair) and _is_count(sweeps, 0) and sweeps <= MOST_SWEEPS and isinstance(merged, bool)
        ):
            raise ModelFileError(
                f"{excerpt(change.path)}: details of a Tucker compression are ranks (two whole numbers of at least 1, "
                f"or null), sweeps (a whole number) and merged (true or false); found {excerpt(repr(details))}."
            )
        return cls(None if ranks is None else tuple(ranks), sweeps, merged)

    def to_json(self) -> dict[str, Any]:
        """These details in JSON types, for ``LayerChange.details``."""
        return {
            "ranks": None if self.ranks is None else list(self.ranks),
            "sweeps": self.sweeps,
            "merged": self.merged,
        }


def layer_words(change: LayerChange) -> str:
    """The ranks of a compressed layer, as ``8 x 16``: output rank, input rank."""
    return " x ".join(map(str, TuckerDetails.from_change(change).ranks))


def _is_count(value: Any, least: int) -> bool:
    """Whether a value of JSON is a whole number of at least ``least``."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
