"""What the user asks of a filter pruning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from ...errors import SpecError
from ...printable import shown
from ...records.compression import LayerChange
from ...records.serialization import unsaid

RULES = ("calibrated", "probed", "uniform", "sauron", "merge")
_TRIED = ("probed", "sauron")  # on patches
BUDGETS = ("macs", "parameters")


@dataclass(frozen=True)
class Spec:
    """How many output channels convolutions keep.

    Attributes:
        keep_ratio: Share of its output channels that every layer that may be pruned keeps, above 0 up to 1; 1 keeps
            the network as it is. It stands for a budget: the multiply-accumulates (or parameters) of the network with
            this share kept everywhere.
        policy: ``calibrated`` spreads that budget over the layers so that the output changes least, by a calibration
            where there is one, else by the weights alone; ``probed`` does so after it has tried each layer on patches;
            ``uniform`` keeps the same share everywhere; ``sauron``
            gives up channels that resemble others of their layer, until the budget is met or the network no longer
            agrees with what it was; ``merge`` keeps the same share everywhere, clusters of filters merged into their
            means, whatever a calibration says.
        budget: What ``calibrated`` spares: ``macs`` (faster) or ``parameters`` (smaller).
        calibration: SHA-256 of the calibration by which channels are chosen and readers make up for what is gone; None
            takes the weights alone.
        multiple: Kept channels are a multiple of it; processors like 8.
        minimum: No layer keeps fewer channels, except where it has fewer.
        channels: Path of a layer to the number of channels that it keeps, in place of what the ratio and the policy
            say; layers that are not named keep all.
        agreement: Of ``sauron``: least mean Dice with the original's labels on patches of the volumes.
        volumes: Of ``probed`` and ``sauron``: identifiers of these volumes; None where they are not known yet.

    Example:
        >>> Spec.at(0.75)
        >>> Spec(channels={"encoder.stages.0.0.convs.0.conv": 24})
    """

    VERSION: ClassVar[int] = 1

    keep_ratio: float = 0.75
    policy: str = "calibrated"
    budget: str = "macs"
    calibration: str | None = None
    multiple: int = 8
    minimum: int = 8
    channels: dict[str, int] | None = unsaid(None)
    agreement: float = unsaid(0.99)
    volumes: tuple[str, ...] | None = unsaid(None)

    def __post_init__(self) -> None:
        ratio = self.keep_ratio
        if isinstance(ratio, bool) or not isinstance(ratio, (int, float)) or not 0 < ratio <= 1:
            raise SpecError(f"keep_ratio must be above 0 and at most 1, not {shown(ratio)}")
        if self.policy not in RULES:
            raise SpecError(f"policy must be one of {RULES}, not {shown(self.policy)}")
        if self.budget not in BUDGETS:
            raise SpecError(f"budget must be one of {BUDGETS}, not {shown(self.budget)}")
        if not isinstance(self.calibration, str | None):
            raise SpecError(f"calibration must be the SHA-256 of one, or None, not {shown(self.calibration)}")
        for name in ("multiple", "minimum"):
            if not _is_count(getattr(self, name)):
                raise SpecError(f"{name} must be a whole number of at least 1, not {shown(getattr(self, name))}")
        if not isinstance(self.channels, dict | None):
            raise SpecError(f"channels must be paths of layers with numbers of channels, not {shown(self.channels)}")
        if isinstance(self.agreement, bool) or not isinstance(self.agreement, (int, float)):
            raise SpecError(f"agreement must be a number, not {shown(self.agreement)}")
        if not 0 <= self.agreement <= 1:
            raise SpecError(f"agreement must be at least 0 and at most 1, not {shown(self.agreement)}")
        if self.volumes is not None and not all(isinstance(each, str) for each in self.volumes):
            raise SpecError(f"volumes must be identifiers of volumes, not {shown(self.volumes)}")
        for path, kept in (self.channels or {}).items():
            if not isinstance(path, str) or not _is_count(kept):
                raise SpecError(f"channels: {shown(path)} must keep a whole number of at least 1, not {shown(kept)}")

    @classmethod
    def at(cls, strength: float) -> Spec:
        """The spec that a share of kept channels alone stands for; 1 keeps the network."""
        return cls(strength)

    @property
    def strength(self) -> float:
        """What a slider shows: the share of kept channels."""
        return self.keep_ratio

    def with_strength(self, strength: float) -> Spec:
        """The same settings at another share of kept channels."""
        return replace(self, keep_ratio=strength, channels=None, volumes=None)

    @property
    def keeps_network(self) -> bool:
        """Whether no channel goes, so that there is no step."""
        return self.keep_ratio == 1 and self.channels is None

    @property
    def needs_weights(self) -> bool:
        """Whether the numbers of channels are chosen by what pruning costs each layer."""
        return self.policy in ("calibrated", *_TRIED) and self.channels is None and self.keep_ratio < 1

    @property
    def needs_patches(self) -> bool:
        """Whether it is tried on patches of volumes which channels may go."""
        return self.policy in _TRIED and self.needs_weights

    @property
    def needs_calibration(self) -> bool:
        """Whether a calibration says which channels are kept, if there is one."""
        return self.policy != "merge" and not self.keeps_network

    @property
    def material_share(self) -> float:
        """Bytes that are kept of a preparation, relative to those of the network's weights."""
        return 0.0

    def bound(self) -> Spec:
        """A spec that is planned without weights, whose network costs at most about as much."""
        return replace(self, policy="uniform", calibration=None, volumes=None)

    def rounded(self, channels: int) -> int:
        """How many of a layer's channels the ratio alone keeps: the nearest multiple, not below the minimum."""
        nearest = self.multiple * max(1, math.floor(channels * self.keep_ratio / self.multiple + 0.5))
        return min(channels, max(self.minimum, nearest)) if self.keep_ratio < 1 else channels

    def steps(self, channels: int) -> list[int]:
        """All numbers of channels that a layer may keep, falling; the first is all that it has."""
        least = -(-self.minimum // self.multiple) * self.multiple
        return [channels, *reversed(range(least, channels, self.multiple))]


def describe(spec: Spec, changes: Sequence[LayerChange]) -> str:
    """A pruning in a few words: share of channels, how they were chosen, and how many layers lost some."""
    how = spec.policy if spec.channels is None else "as told"
    if spec.calibration is None:
        how = "by weights alone" if how == "calibrated" else f"{how}, by weights alone"
    share = "" if spec.channels is not None else f" to {spec.keep_ratio:.2f} of the channels"
    pruned = sum("kept" in change.details for change in changes)
    return f"pruned{share}, {how}, {pruned} of {sum(change.kind.startswith('Conv') for change in changes)} layers"


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
