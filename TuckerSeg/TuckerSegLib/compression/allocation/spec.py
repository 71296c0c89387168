"""What the user asks of the allocator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from ...errors import SpecError
from ...printable import shown
from ...records.job import LEAST_AGREEMENT
from ...records.serialization import unsaid

BUDGETS = ("time", "macs", "parameters", "bytes")
MEANS = ("tucker", "prune", "int8")


@dataclass(frozen=True)
class Spec:
    """How far to compress by all means together, chosen layer by layer.

    Attributes:
        share: Of the original's cost, above 0 up to 1: what the compressed network may cost. 1 keeps the network.
        budget: What is counted: ``time`` (seconds on the device that runs the network), ``macs``, ``parameters`` or
            ``bytes`` (of the weights).
        means: Those that may be used, of ``tucker``, ``prune`` and ``int8``; None: all that there are here.
        agreement: The mean Dice with the original network to keep, in place of a share: the cheapest network that
            keeps it on held-back patches is looked for. None: the share counts.
        calibration: SHA-256 of the calibration that errors are told by; None takes the one that there is.

    Example:
        >>> AllocationSpec(0.5)  # half the time, by all means
        >>> AllocationSpec(0.3, budget="macs", means=["tucker"])
        >>> AllocationSpec(agreement=0.97)
    """

    VERSION: ClassVar[int] = 1

    share: float = 0.5
    budget: str = "time"
    means: Sequence[str] | None = None
    agreement: float | None = None
    calibration: str | None = unsaid(None)

    def __post_init__(self) -> None:
        if isinstance(self.share, bool) or not isinstance(self.share, (int, float)) or not 0 < self.share <= 1:
            raise SpecError(f"share must be above 0 and at most 1, not {shown(self.share)}")
        if self.budget not in BUDGETS:
            raise SpecError(f"budget must be one of {BUDGETS}, not {shown(self.budget)}")
        if self.means is not None and not (self.means and all(each in MEANS for each in self.means)):
            raise SpecError(f"means must be some of {MEANS}, not {shown(self.means)}")
        if self.agreement is not None and not (
            isinstance(self.agreement, (int, float)) and LEAST_AGREEMENT <= self.agreement <= 1
        ):
            raise SpecError(f"agreement must be a number from {LEAST_AGREEMENT} to 1, not {shown(self.agreement)}")
        if not isinstance(self.calibration, str | None):
            raise SpecError(f"calibration must be the SHA-256 of one, or None, not {shown(self.calibration)}")

    @classmethod
    def at(cls, strength: float) -> Spec:
        """The spec that a mere strength stands for: this share of the original's time; 1 keeps the network."""
        return cls(strength)

    @property
    def strength(self) -> float:
        """What a slider shows: the share of the original's cost."""
        return self.share

    def with_strength(self, strength: float) -> Spec:
        """The same settings at another share of the original's cost."""
        return replace(self, share=strength, agreement=None)

    @property
    def shrinks(self) -> bool:
        """Whether a network is asked for that costs less than the original."""
        return self.agreement is not None or self.share < 1

    needs_calibration = True
    needs_weights = True
