"""Which parts of the body the structures show, and where along the patient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from ..records.quality_report import BodyPart
from .layout import BODY_PARTS, Place
from .measuring import Measured

FEWEST = 2  # structures that make a part; one alone may be a mistake
ENOUGH_ALONE = 0.5  # of its smallest plausible volume, and one is enough
COUNTS_WHOLE, COUNTS_CUT = 0.2, 0.05  # of that volume; less is an island where the model is mistaken
COUNTS_ML = 1.0  # where no volume is known


def find_body_parts(structures: Sequence[Measured], known: Iterable[Place]) -> tuple[BodyPart, ...]:
    """Parts that are there, from head to legs.

    Args:
        known: Every structure that the model could have found.
    """
    possible = Counter(place.part for place in known)
    parts = []
    for name in BODY_PARTS:
        found = [each for each in structures if each.place.part == name and _counts(each)]
        if len(found) < FEWEST and not any(_share_of_smallest(each) >= ENOUGH_ALONE for each in found):
            continue
        whole = sum(not each.partial for each in found)
        lowest, highest = min(each.lowest_mm for each in found), max(each.highest_mm for each in found)
        share = round(whole / possible[name], 3)
        parts.append(BodyPart(name, share, len(found), round(lowest, 1), round(highest, 1)))
    return tuple(parts)


def _counts(each: Measured) -> bool:
    if each.place.volume_ml is None:
        return each.volume_ml >= COUNTS_ML
    return _share_of_smallest(each) >= (COUNTS_CUT if each.partial else COUNTS_WHOLE)


def _share_of_smallest(each: Measured) -> float:
    return each.volume_ml / each.place.volume_ml[0] if each.place.volume_ml is not None else 0.0
