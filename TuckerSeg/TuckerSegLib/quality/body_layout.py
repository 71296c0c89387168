"""Usual position and size of each structure in a standing adult, rounded so that they hold for most people.

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
VERTEBRAE = tuple(f"vertebrae_{section}{n}" for section, count in LEVELS for n in range(1, count + 1))
BODY_PARTS = ("head", "neck", "chest", "abdomen", "pelvis", "legs", "arms")


@dataclass(frozen=True)
class Place:
    """Usual position and size of a structure.

    Attributes:
        name: Standard name.
        part: One of ``BODY_PARTS``; empty for a structure that belongs to several.
        right_mm: Distance of its center to the right of the spine.
        anterior_mm: Distance in front of the spine at its level, measured at the middle of whole vertebrae.
        superior_mm: Distance above T12; None for structures so long that the image decides which part of them is seen.
        volume_ml: Smallest and largest plausible volume in an adult; None where it is not checked.
    """

    name: str
    part: str
    right_mm: float
    anterior_mm: float
    superior_mm: float | None
    volume_ml: tuple[float, float] | None

    @property
    def in_spine(self) -> bool:
        """Whether the structure is part of the spine."""
        return self.name.startswith(SPINE)


@functools.cache
def places() -> dict[str, Place]:
    """All structures of the table, by standard name."""
    with LAYOUT_FILE.open(encoding="utf-8", newline="") as file:
        return {row["name"]: _from_row(row) for row in csv.DictReader(file)}


def place_of(label_name: str) -> Place | None:
    """Usual place of the structure that a label names; None where it is not known."""
    structure = anatomy(label_name)
    return places().get(structure.name) if structure is not None else None


def mirror_image(place: Place) -> Place | None:
    """The counterpart on the other side of the body; None where there is none, or where it is not its mirror image."""
    swap = {"left": "right", "right": "left"}
    other = places().get("_".join(swap.get(word, word) for word in place.name.split("_")))
    return other if other is not None and other.name != place.name and other.right_mm == -place.right_mm else None


def _from_row(row: dict[str, str]) -> Place:
    volume = (float(row["smallest_ml"]), float(row["largest_ml"])) if row["smallest_ml"] else None
    superior = float(row["superior_mm"]) if row["superior_mm"] else None
    return Place(row["name"], row["part"], float(row["right_mm"]), float(row["anterior_mm"]), superior, volume)
