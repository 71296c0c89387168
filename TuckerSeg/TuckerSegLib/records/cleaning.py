"""How labels are cleaned after all networks have run: by rules of nnU-Net's, or as TotalSegmentator does for a task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..errors import SpecError
from ..printable import shown

CLEANINGS = ("rules", "body", "vertebrae_pp", "vertebrae_pp_refined")


@dataclass(frozen=True)
class LargestComponentRule:
    """Of the voxels of some labels together, those that do not belong to the largest blob become background.

    Attributes:
        labels: Their values.
        background: The value that is written.
    """

    VERSION: ClassVar[int] = 1

    labels: tuple[int, ...]
    background: int = 0


@dataclass(frozen=True)
class Cleaning:
    """How labels are cleaned.

    Attributes:
        kind: ``rules``: those of nnU-Net's ``postprocessing.pkl``; ``body``, ``vertebrae_pp``,
            ``vertebrae_pp_refined``: TotalSegmentator's of the task of that name.
        rules: In the order in which they are applied.
    """

    VERSION: ClassVar[int] = 1

    kind: str
    rules: tuple[LargestComponentRule, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in CLEANINGS:
            raise SpecError(f"A cleaning is one of {', '.join(CLEANINGS)}; found {shown(self.kind)}.")
