"""Records of what a run is expected to cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class PartEstimate:
    """The expected cost of one network of a run; see :class:`Estimate` for its fields."""

    VERSION: ClassVar[int] = 1

    name: str
    patches: int
    parameters: int
    macs_per_volume: int
    seconds: float | None


@dataclass(frozen=True)
class Estimate:
    """The expected cost of a run; ``original_*`` is the network before compression. 1 MAC = 2 FLOPs.

    Of a task of several networks, parameters, operations, patches and seconds are those of all of them together, and
    memory that of the largest: they run one after the other.

    Attributes:
        seconds, original_seconds: Of a run with a warm worker; None where this computer was not measured.
        peak_memory_bytes: Of the worker, predicted.
        free_memory_bytes: What the worker may take of that memory, what it holds already included; None where unknown.
        agreement: Mean Dice against the original network; None where it was not measured.
        agreement_source: In words, on which volume it was measured, or that it was not.
        notes: What the user should know.
        patches_skipped: Patches of the volume that will be spared; None: not known without its voxels, so that patches,
            operations and seconds are those at most.
        cache_bytes: What the run will add to the cache of compressed and compiled networks, about.
        parts: The same per network, in the order in which they run.
        first_use_seconds: What is done once before the run: calibrating and compressing, as far as the cache lacks what
            comes of it; 0 where it has all, None where it is not known.
    """

    VERSION: ClassVar[int] = 1

    original_parameters: int
    parameters: int
    original_macs_per_patch: int
    macs_per_patch: int
    patches: int
    original_macs_per_volume: int
    macs_per_volume: int
    original_seconds: float | None
    seconds: float | None
    peak_memory_bytes: int
    free_memory_bytes: int | None
    agreement: float | None
    agreement_source: str
    device: str
    precision: str
    notes: tuple[str, ...] = ()
    cache_bytes: int = 0
    patches_skipped: int | None = None
    parts: tuple[PartEstimate, ...] = ()
    first_use_seconds: float | None = 0.0

    @property
    def fits(self) -> bool:
        """Whether memory is enough, or nothing is known of it."""
        return self.free_memory_bytes is None or self.peak_memory_bytes <= self.free_memory_bytes
