"""What the user asks of a token sparsification."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from ...errors import SpecError
from ...printable import shown
from ...records.compression import LayerChange
from ...records.serialization import unsaid

MOST_BLOCKS = 128
LEAST_RATIO = 0.01
AGREEMENT = 0.98
QUARTERS = (0.25, 0.5, 0.75)  # of the blocks, after which tokens go


@dataclass(frozen=True)
class Spec:
    """How many tokens of a patch go on through a transformer's blocks.

    Attributes:
        keep_ratio: 0.01 to 1; 1 keeps the network as it is. Share of the tokens that are still there which goes on at
            each place where some are left out; where they are merged, share of those outside air that is left.
        blocks: Numbers, from 0 on, of the blocks after which tokens are left out, rising; None: after a quarter, half
            and three quarters of them.
        agreement: Least mean Dice with the labels of the whole network on patches of the volumes; where it is missed,
            more tokens are kept, up to all of them. 0 tries nothing.
        volumes: Identifiers of these volumes; None where they are not known yet.
        air: Value of the network's first input channel up to which a voxel is air: tokens outside the body go first,
            and their number counts per patch. None: nothing is known of air.
        merged: Whether tokens that are alike are merged before the first block, in place of leaving after some.
        learned: Whether layers that learn correct which tokens go and complete the sequence. They do nothing before
            they have been trained.
        paired: Of merged tokens: whether neighbours along the first axis are merged in pairs, as is done by default;
            else blocks of 2 x 2 x 2 cells, as files say that were written before there were pairs.

    Example:
        >>> Spec.at(0.85)
        >>> Spec(0.25, blocks=(2, 5, 8), agreement=0)
    """

    VERSION: ClassVar[int] = 1

    keep_ratio: float = 0.5
    blocks: tuple[int, ...] | None = None
    agreement: float = AGREEMENT
    volumes: tuple[str, ...] | None = None
    air: float | None = None
    merged: bool = unsaid(False)
    learned: bool = unsaid(False)
    paired: bool = unsaid(False)
    needs_calibration: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name, least, most in (("keep_ratio", LEAST_RATIO, 1), ("agreement", 0, 1)):
            if not _is_number(value := getattr(self, name)) or not least <= value <= most:
                raise SpecError(f"{name} must be a number from {least} to {most}, not {shown(value)}")
        if self.blocks is not None:
            if not isinstance(self.blocks, (list, tuple)) or not self.blocks or not all(map(_is_block, self.blocks)):
                raise SpecError(f"blocks must be whole numbers from 0 to {MOST_BLOCKS - 1}, not {shown(self.blocks)}")
            if sorted(set(self.blocks)) != list(self.blocks):
                raise SpecError(f"blocks must rise, not {shown(self.blocks)}")
            object.__setattr__(self, "blocks", tuple(self.blocks))
        if self.volumes is not None and not all(isinstance(each, str) for each in self.volumes):
            raise SpecError(f"volumes must be identifiers of volumes, not {shown(self.volumes)}")
        if self.air is not None and not (_is_number(self.air) and math.isfinite(self.air)):
            raise SpecError(f"air must be a number or None, not {shown(self.air)}")
        for name in ("merged", "learned", "paired"):
            if not isinstance(getattr(self, name), bool):
                raise SpecError(f"{name} must be true or false, not {shown(getattr(self, name))}")
        if self.merged and (self.learned or self.blocks is not None):
            raise SpecError("merged tokens pass all blocks as one: it goes neither with blocks nor with learned")
        if self.paired and not self.merged:
            raise SpecError("paired says how tokens are merged: it goes with merged alone")

    @classmethod
    def at(cls, strength: float) -> Spec:
        """The spec that a share of kept tokens alone stands for; 1 keeps the network."""
        return cls(strength, merged=True, paired=True)

    @property
    def strength(self) -> float:
        """What a slider shows: the share of kept tokens."""
        return self.keep_ratio

    def with_strength(self, strength: float) -> Spec:
        """The same settings at another share of kept tokens."""
        return replace(self, keep_ratio=strength, volumes=None)

    @property
    def keeps_network(self) -> bool:
        """Whether nothing changes, whatever the network."""
        return self.keep_ratio >= 1

    @property
    def needs_weights(self) -> bool:
        """Whether the share is tried on the network."""
        return self.keep_ratio < 1 and self.agreement > 0

    @property
    def needs_patches(self) -> bool:
        """Whether it is tried on patches of volumes."""
        return self.needs_weights

    def bound(self) -> Spec:
        """A spec that is planned without weights: the share as it is asked for."""
        return replace(self, agreement=0.0, volumes=None)

    def blocks_of(self, depth: int) -> tuple[int, ...]:
        """After which of a number of blocks tokens are left out.

        Raises:
            SpecError: A block is not among them, or is the last, after which nothing would be spared.
        """
        if self.blocks is None:
            return tuple(sorted({number for each in QUARTERS if 0 <= (number := round(depth * each) - 1) < depth - 1}))
        if self.blocks[-1] >= depth - 1:
            raise SpecError(
                f"tokens are left out after blocks 0 to {depth - 2} of a network of {depth} blocks; found "
                f"{shown(self.blocks)}"
            )
        return self.blocks


def describe(spec: Spec, changes: Sequence[LayerChange]) -> str:
    """A sparsification in a few words: share of tokens, and after which blocks."""
    details = next((change.details for change in changes if change.details), None)
    if details is None:
        return "all tokens kept"
    if details.get("merged"):
        return f"{details['keep_ratio']:.2f} of the tokens kept, neighbours that are alike and air merged"
    numbers = ", ".join(str(number + 1) for number in details["blocks"])
    words = f"{details['keep_ratio']:.2f} of the tokens kept after each of the blocks {numbers}"
    return f"{words}, by what was learned" if details.get("learned") else words


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_block(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST_BLOCKS
