"""What the user asks of a Tucker-2 compression."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ...errors import SpecError
from ...printable import shown
from ...records.compression import LayerChange
from ...records.serialization import unsaid

RANK_MODES = ("relative", "fixed", "energy", "evbmf", "auto", "given")
MOST_SWEEPS = 100
BUDGETS = ("macs", "parameters")
AUTO = {"rank_mode": "auto", "rank_multiple": 4}  # what a mere rank ratio means: its budget, where it hurts least
PAPER = {
    "rank_multiple": 1,
    "keep_stem_and_head": False,
    "keep_pointwise": False,
    "keep_if_not_cheaper": False,
}  # the Tucker paper's policy (arXiv:2404.09683): every convolution replaced, ranks not rounded


@dataclass(frozen=True)
class Spec:
    """How far to compress by Tucker-2 decomposition: ranks of all layers, and which layers stay dense.

    Attributes:
        rank_ratio: Rank / channels, above 0 up to 1. With the default policy 1 keeps the network as it is.
        rank_mode: ``relative`` takes ranks from rank_ratio, ``fixed`` gives every layer minimum_rank. ``auto`` has
            the budget of ``relative`` (by the paper's counts, dearer layers dense) and spreads it so that the summed
            error is smallest; ranks are then multiples of rank_multiple and not held above minimum_rank.
            ``energy`` takes the smallest ranks that keep the share rank_ratio of the weight's squared norm along
            each mode; ``evbmf`` what variational Bayes finds in the weight, whatever rank_ratio is. ``given`` has
            the ranks of ``ranks``, and leaves all other layers dense.
        budget: What ``auto`` spares: ``macs`` (faster) or ``parameters`` (smaller).
        calibration: SHA-256 of the calibration whose norm ``auto`` and ``given`` minimize; None: weights alone.
        minimum_rank: No rank falls below it, except where a layer has fewer channels.
        rank_multiple: Ranks are rounded to the nearest multiple, at least one; processors like 8. 1 = not rounded.
        keep_stem_and_head: Leave the first convolution and the 1x1x1 output layer dense.
        keep_pointwise: Leave other 1x1x1 convolutions (projections of residual blocks) dense.
        keep_if_not_cheaper: Leave a layer dense whose compressed form takes no fewer MACs.
        sweeps: Sweeps of higher-order orthogonal iteration after truncation.
        ranks: Of ``given``: path of a layer to its ranks [output, input]; None for every other mode.

    Example:
        >>> TuckerSpec(rank_ratio=0.33)
        >>> TuckerSpec.at(0.5)  # as --rank 0.5
        >>> TuckerSpec.paper(0.3)
    """

    VERSION: ClassVar[int] = 1

    rank_ratio: float = 1 / 3
    rank_mode: str = "relative"
    budget: str = "macs"
    calibration: str | None = None
    minimum_rank: int = 8
    rank_multiple: int = 8
    keep_stem_and_head: bool = True
    keep_pointwise: bool = True
    keep_if_not_cheaper: bool = True
    sweeps: int = 0
    ranks: dict[str, list[int]] | None = unsaid(None)

    def __post_init__(self) -> None:
        if not isinstance(self.rank_ratio, (int, float)) or not 0 < self.rank_ratio <= 1:
            raise SpecError(f"rank_ratio must be above 0 and at most 1, not {shown(self.rank_ratio)}")
        if self.rank_mode not in RANK_MODES:
            raise SpecError(f"rank_mode must be one of {RANK_MODES}, not {shown(self.rank_mode)}")
        if self.budget not in BUDGETS:
            raise SpecError(f"budget must be one of {BUDGETS}, not {shown(self.budget)}")
        if not isinstance(self.calibration, str | None):
            raise SpecError(f"calibration must be the SHA-256 of one, or None, not {shown(self.calibration)}")
        if self.rank_mode not in ("auto", "given") and self.calibration:
            raise SpecError(f"a calibration serves the rank modes 'auto' and 'given', not {shown(self.rank_mode)}")
        if (self.rank_mode == "given") != (self.ranks is not None):
            raise SpecError(f"ranks go with the rank mode 'given' and no other; found {shown(self.rank_mode)}")
        if self.ranks is not None and not _are_ranks(self.ranks):
            raise SpecError(f"ranks must name layers and two whole numbers of each, not {shown(self.ranks)}")
        for name, least in (("minimum_rank", 1), ("rank_multiple", 1), ("sweeps", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise SpecError(f"{name} must be a whole number of at least {least}, not {shown(value)}")
        if self.sweeps > MOST_SWEEPS:
            raise SpecError(
                f"sweeps must be at most {MOST_SWEEPS}, not {shown(self.sweeps)}: some ten change nothing more"
            )
        for name in ("keep_stem_and_head", "keep_pointwise", "keep_if_not_cheaper"):
            if not isinstance(getattr(self, name), bool):
                raise SpecError(f"{name} must be true or false, not {shown(getattr(self, name))}")

    @classmethod
    def at(cls, strength: float) -> Spec:
        """The spec that a rank ratio alone stands for: its budget, spread over the layers; 1 keeps the network."""
        return cls(strength, **AUTO)

    @classmethod
    def paper(cls, rank_ratio: float, minimum_rank: int = 8, rank_mode: str = "relative") -> Spec:
        """The Tucker paper's policy (arXiv:2404.09683): every convolution replaced, ranks not rounded.

        Args:
            rank_ratio: Rank / channels, above 0 up to 1; the paper recommends 0.3.
            minimum_rank: No rank falls below it.
            rank_mode: ``relative``, or ``fixed``: minimum_rank in every layer.
        """
        return cls(rank_ratio, rank_mode=rank_mode, minimum_rank=minimum_rank, **PAPER)

    @classmethod
    def given(cls, ranks: Mapping[str, Sequence[int]]) -> Spec:
        """A spec with the ranks (output, input) of each layer that is to be compressed; the others stay dense."""
        return cls(1.0, rank_mode="given", rank_multiple=1, ranks={path: list(pair) for path, pair in ranks.items()})

    @property
    def strength(self) -> float:
        """What a slider shows: the rank ratio."""
        return self.rank_ratio

    def with_strength(self, strength: float) -> Spec:
        """The same settings at another rank ratio."""
        return replace(self, rank_ratio=strength)

    @property
    def keeps_network(self) -> bool:
        """Whether no layer changes, whatever the network: the budget is that of the whole network."""
        return self.rank_mode == "auto" and self.rank_ratio >= 1 and self.keep_if_not_cheaper

    @property
    def needs_weights(self) -> bool:
        """Whether the ranks are chosen by decompositions of the weights."""
        return self.rank_mode in ("energy", "evbmf") or (self.rank_mode == "auto" and self.needs_calibration)

    @property
    def needs_calibration(self) -> bool:
        """Whether a calibration, if there is one, decides on the ranks or on the factors."""
        return self.rank_mode == "given" or (self.rank_mode == "auto" and self.rank_ratio < 1)

    @property
    def material_share(self) -> float:
        """Bytes that are kept of a preparation, relative to those of the network's weights."""
        return 0.0 if self.calibration else 1.0

    def bound(self) -> Spec:
        """A spec that is planned without weights, whose network costs at most about as much."""
        if self.rank_mode == "given":
            return self
        return replace(self, rank_mode="relative", calibration=None, rank_multiple=1)

    def rank(self, channels: int) -> int:
        """The rank, by rank_ratio or minimum_rank, of a mode with a number of channels."""
        # The small number keeps 100 * 0.55 = 55.00000000000001 from rising to 56.
        rank = self.minimum_rank if self.rank_mode == "fixed" else math.ceil(channels * self.rank_ratio - 1e-9)
        return self.rounded(max(self.minimum_rank, rank), channels)

    def rounded(self, rank: int, channels: int) -> int:
        """A rank rounded to the nearest multiple of rank_multiple, at least one multiple and at most all channels.

        Args:
            rank: As it was computed, 1 or more.
            channels: Of the mode; a rank of as many decomposes nothing.
        """
        if rank >= channels:
            return channels
        nearest = math.floor(rank / self.rank_multiple + 0.5) * self.rank_multiple
        return min(channels, max(self.rank_multiple, nearest))


def describe(spec: Spec, changes: Sequence[LayerChange]) -> str:
    """A compression in a few words: rank, how the ranks were chosen, and how many layers were changed."""
    fixed = spec.rank_mode == "fixed"
    rank = f"at fixed rank {spec.minimum_rank}" if fixed else f"at rank {spec.rank_ratio:.2f}"
    if spec.rank_mode == "given":
        rank = "at ranks of each layer's own"
    calibrated = "calibrated" if spec.calibration else "by weights alone"
    how = {"auto": calibrated, "given": calibrated}.get(spec.rank_mode, spec.rank_mode)
    changed = sum(change.skipped_because is None for change in changes)
    return f"tucker {rank}, {how}, {changed} of {len(changes)} layers"


def _are_ranks(ranks: Any) -> bool:
    """Whether ranks are a table of layers with two whole numbers of at least 1 for each."""
    if not isinstance(ranks, Mapping) or not all(isinstance(path, str) and path for path in ranks):
        return False
    pairs = list(ranks.values())
    if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
        return False
    return all(type(rank) is int and rank >= 1 for pair in pairs for rank in pair)
