"""Names the parts of the body that a segmentation shows, and where along the patient they lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from ..records.quality_report import BodyPart
from .body_layout import BODY_PARTS, Place
from .measuring import MeasuredStructure

FEWEST = 2  # structures that make a part; one alone may be a mistake
ENOUGH_ALONE = 0.5  # of its smallest plausible volume, and one is enough
COUNTS_WHOLE, COUNTS_CUT = 0.2, 0.05  # of that volume; less is an island where the model is mistaken
COUNTS_ML = 1.0  # where no volume is known


def find_body_parts(structures: Sequence[MeasuredStructure], places: Iterable[Place]) -> tuple[BodyPart, ...]:
    """Find the parts of the body that the structures show.

    Args:
        structures: The structures of the segmentation, measured.
        places: Places of all structures that the model can find.

    Returns:
        From head to legs, with the share of each part's structures that are whole and its extent in mm (RAS).
    """
    structures_of_part = Counter(place.part for place in places)
    parts = []
    for name in BODY_PARTS:
        members = [each for each in structures if each.place.part == name and _is_large_enough(each)]
        if len(members) < FEWEST and not any(_share_of_smallest(each) >= ENOUGH_ALONE for each in members):
            continue
        whole = sum(not each.partial for each in members)
        lowest, highest = min(each.lowest_mm for each in members), max(each.highest_mm for each in members)
        share = round(whole / structures_of_part[name], 3)
        parts.append(BodyPart(name, share, len(members), round(lowest, 1), round(highest, 1)))
    return tuple(parts)


def _is_large_enough(structure: MeasuredStructure) -> bool:
    """Whether the structure is more than an island where the model is mistaken."""
    if structure.place.volume_ml is None:
        return structure.volume_ml >= COUNTS_ML
    return _share_of_smallest(structure) >= (COUNTS_CUT if structure.partial else COUNTS_WHOLE)


def _share_of_smallest(structure: MeasuredStructure) -> float:
    """Volume over the smallest plausible one; 0 where none is known."""
    return structure.volume_ml / structure.place.volume_ml[0] if structure.place.volume_ml is not None else 0.0
