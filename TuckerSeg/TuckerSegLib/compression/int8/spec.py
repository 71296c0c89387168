"""What the user asks of an INT8 quantization."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from ...errors import SpecError
from ...printable import shown
from ...records.compression import LayerChange


@dataclass(frozen=True)
class Spec:
    """Which convolutions compute with whole numbers of eight bits.

    Attributes:
        float_share: Share of the multiply-accumulates that stays in floating point, 0 to 1, the layers whose rounding
            does most harm first. 0 quantizes every layer that can be, 1 none.
        layers: Paths of the layers to quantize, and no others; ``float_share`` says nothing then. None lets it choose.
        keep_pointwise: Leave 1x1x1 convolutions in floating point: they move values rather than compute, and rounding
            their inputs costs a pass.
        calibration: SHA-256 of the calibration whose ranges and moments are used; None: of the one at hand.

    Example:
        >>> Spec()
        >>> Spec.at(0.5)  # as --method int8:0.5
    """

    VERSION: ClassVar[int] = 1
    needs_calibration: ClassVar[bool] = True
    needs_ranges: ClassVar[bool] = True  # of the calibration

    float_share: float = 0.0
    layers: tuple[str, ...] | None = None
    keep_pointwise: bool = True
    calibration: str | None = None

    def __post_init__(self) -> None:
        share = self.float_share
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
            raise SpecError(f"float_share must be 0 to 1, not {shown(share)}")
        if self.layers is not None:
            is_list = isinstance(self.layers, (list, tuple)) and all(isinstance(path, str) for path in self.layers)
            if not is_list or len(set(self.layers)) < len(self.layers):
                raise SpecError(f"layers must be different paths of layers, or None, not {shown(self.layers)}")
            object.__setattr__(self, "layers", tuple(self.layers))
        if not isinstance(self.keep_pointwise, bool):
            raise SpecError(f"keep_pointwise must be true or false, not {shown(self.keep_pointwise)}")
        if not isinstance(self.calibration, str | None):
            raise SpecError(f"calibration must be the SHA-256 of one, or None, not {shown(self.calibration)}")

    @classmethod
    def at(cls, strength: float) -> Spec:
        """The spec of a strength: the share of the multiply-accumulates that stays in floating point; 1 keeps all."""
        return cls(float_share=strength)

    @property
    def strength(self) -> float:
        """What a slider shows: the share that stays in floating point."""
        return self.float_share

    def with_strength(self, strength: float) -> Spec:
        """The same settings with another share in floating point; the layers are then chosen by it."""
        return replace(self, float_share=strength, layers=None)

    @property
    def needs_weights(self) -> bool:
        """Whether the layers are chosen by the errors of their rounding."""
        return self.layers is None and 0 < self.float_share < 1

    @property
    def material_share(self) -> float:
        """Bytes that are kept of a preparation, relative to those of the network's weights."""
        return 0.25

    def bound(self) -> Spec:
        """A spec that is planned without errors of layers; it costs about as much."""
        return self


def describe(spec: Spec, changes: Sequence[LayerChange]) -> str:
    """A quantization in a few words: how many layers, and their share of the multiply-accumulates."""
    total = sum(change.before.macs for change in changes)
    quantized = [change for change in changes if change.skipped_because is None]
    share = sum(change.before.macs for change in quantized) / total if total else 0.0
    return f"int8, {len(quantized)} of {len(changes)} layers, {share:.0%} of their operations"


def layer_words(change: LayerChange) -> str:
    """What became of a layer, for a table."""
    return "int8"


def spec_of(options: argparse.Namespace, strength: float | None = None) -> Spec:
    """The quantization that ``--method int8`` asks for, or ``--method int8:0.3``.

    Args:
        options: Of the command line; none of them is this method's.
        strength: Share that stays in floating point; None quantizes every layer that can be.

    Raises:
        SpecError: The share is out of its range.
    """
    return Spec() if strength is None else Spec.at(strength)
