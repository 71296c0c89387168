"""What weight sharing writes into ``LayerChange.details``, and reads from there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...errors import ModelFileError
from ...printable import excerpt
from ...records.compression import LayerChange
from .spec import MOST_CLUSTERS

MOST_SCALES = 65536


@dataclass(frozen=True)
class SharingDetails:
    """How one kernel is stored.

    Attributes:
        centers: Values of its codebook; 0 where the layer stays as it is.
        scales: Numbers that the kernel's output channels are multiplied with: none, one for all, or one each.
        codebook_of: Path of the layer whose codebook it uses; None: its own.
    """

    centers: int = 0
    scales: int = 0
    codebook_of: str | None = None

    @property
    def index_bits(self) -> int:
        """Bits of an index: 8 or 16."""
        return 8 if self.centers <= 256 else 16

    @classmethod
    def from_change(cls, change: LayerChange) -> SharingDetails:
        """Read the ``details`` of a change that this method has planned.

        Raises:
            ModelFileError: The details are not those of weight sharing.
        """
        details = {**change.details}
        centers, scales, source = details.get("centers"), details.get("scales"), details.get("codebook_of")
        in_range = _is_count(centers, MOST_CLUSTERS) and _is_count(scales, MOST_SCALES)
        if not in_range or not (source is None or isinstance(source, str)):
            raise ModelFileError(
                f"{excerpt(change.path)}: details of weight sharing are centers (0 to {MOST_CLUSTERS}), scales (0 to "
                f"{MOST_SCALES}) and codebook_of (a path, or null); found {excerpt(repr(details))}."
            )
        return cls(centers, scales, source)

    def to_json(self) -> dict[str, Any]:
        """These details in JSON types, for ``LayerChange.details``."""
        return {"centers": self.centers, "scales": self.scales, "codebook_of": self.codebook_of}


def layer_words(change: LayerChange) -> str:
    """What a kernel becomes, as ``8 bits``."""
    return f"{SharingDetails.from_change(change).index_bits} bits"


def _is_count(value: Any, most: int) -> bool:
    """Whether a value of JSON is a whole number from 0 up to ``most``."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most
