"""Where structures lie in an adult who stands upright, and how large they are. Rounded to what anatomy holds for most.

The table is ``Resources/Terminology/body_layout.csv``. Positions are medians of a structure's voxels, from reference
label maps of the TotalSegmentator CT dataset v2 (Wasserthal et al., Zenodo 10047263, CC BY 4.0), made symmetric and
rounded to 5 mm; what those lack (head, legs, heart chambers) and the wide ranges of volumes are from textbooks.
"""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass

from ..catalog.resources import RESOURCES
from ..catalog.structures import anatomy

LAYOUT_FILE = RESOURCES / "Terminology" / "body_layout.csv"
SPINE = ("vertebrae_", "sacrum")
LEVELS = (("C", 7), ("T", 12), ("L", 5), ("S", 1))
VERTEBRAE = tuple(f"vertebrae_{region}{n}" for region, count in LEVELS for n in range(1, count + 1))
BODY_PARTS = ("head", "neck", "chest", "abdomen", "pelvis", "legs", "arms")


@dataclass(frozen=True)
class Place:
    """Where a structure is expected.

    Attributes:
        name: Its standard name.
        part: Of ``BODY_PARTS``; empty for what belongs to several.
        right_mm: To the right of the spine.
        anterior_mm: In front of the spine at its level, measured at the middle of whole vertebrae.
        superior_mm: Above T12; None for what is so long that it depends on the image which part of it is seen.
        volume_ml: Smallest and largest that is plausible in an adult; None where that is not checked.
    """

    name: str
    part: str
    right_mm: float
    anterior_mm: float
    superior_mm: float | None
    volume_ml: tuple[float, float] | None

    @property
    def in_spine(self) -> bool:
        return self.name.startswith(SPINE)


@functools.cache
def places() -> dict[str, Place]:
    """Every structure of the table by its standard name."""
    with LAYOUT_FILE.open(encoding="utf-8", newline="") as file:
        return {row["name"]: _from_row(row) for row in csv.DictReader(file)}


def place_of(label_name: str) -> Place | None:
    """Where the structure that a label names is expected; None where that is not known."""
    known = anatomy(label_name)
    return places().get(known.name) if known is not None else None


def mirror_image(place: Place) -> Place | None:
    """The structure of the other side; None for those that have none, and for pairs that differ in more than side."""
    swap = {"left": "right", "right": "left"}
    other = places().get("_".join(swap.get(word, word) for word in place.name.split("_")))
    return other if other is not None and other.name != place.name and other.right_mm == -place.right_mm else None


def _from_row(row: dict[str, str]) -> Place:
    volume = (float(row["smallest_ml"]), float(row["largest_ml"])) if row["smallest_ml"] else None
    superior = float(row["superior_mm"]) if row["superior_mm"] else None
    return Place(row["name"], row["part"], float(row["right_mm"]), float(row["anterior_mm"]), superior, volume)
