"""The landmarks of the scale by their usual heights, and which of them make a part of the body.

Names, order and the landmarks of each part are those of Body Part Regression's metadata, so that its readers find them.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..body_layout import VERTEBRAE, places

START, END = "pelvis_start", "eyes_end"
# Above T12, as in body_layout: lower end of the hip bones, top of the thigh bones, top of the hip bones, upper end of
# the orbits, top of the head
_HEIGHTS_MM = {START: -325.0, "femur_end": -245.0, "pelvis_end": -125.0, END: 430.0, "head_end": 525.0}
POINTS_PER_MM = 100 / (_HEIGHTS_MM[END] - _HEIGHTS_MM[START])

# What a slice shows, by the landmarks between which it lies; parts overlap. None: no end
EXAMINED: dict[str, tuple[str | None, str | None]] = {
    "legs": (None, START),
    "pelvis": (START, "pelvis_end"),
    "abdomen": ("L5", "Th8"),
    "chest": ("Th12", "Th1"),
    "shoulder-neck": ("Th3", "C2"),
    "head": ("C5", None),
}
# One part for every slice
DISTINCT = {
    "PELVIS": (START, "pelvis_end"),
    "ABDOMEN": ("pelvis_end", "Th9"),
    "CHEST": ("Th9", "Th2"),
    "NECK": ("Th2", "C3"),
    "HEAD": ("C3", "head_end"),
}


def _thoracic(first: int, last: int) -> tuple[str, ...]:
    return tuple(f"Th{number}" for number in range(first, last - 1, -1))


# A volume shows a part where it reaches beyond at least so many of these
INCLUDED: dict[str, tuple[int, tuple[str, ...]]] = {
    "PELVIS": (2, (START, "femur_end", "pelvis_end")),
    "ABDOMEN": (7, ("L5", "L4", "L3", "L2", "L1", *_thoracic(12, 9))),
    "CHEST": (9, _thoracic(12, 1)),
    "NECK": (6, (*_thoracic(3, 1), "C7", "C6", "C5", "C4", "C3", "C2")),
    "HEAD": (3, ("C3", "C2", "C1", END)),
}


def score_at(superior_mm: float) -> float:
    """Score of a height above T12 in an adult of average size."""
    return (superior_mm - _HEIGHTS_MM[START]) * POINTS_PER_MM


def usual_scores() -> dict[str, float]:
    """Score of every landmark, from low to high; thoracic vertebrae are called Th1 to Th12."""
    heights = dict(_HEIGHTS_MM)
    for name in VERTEBRAE:
        level = name.removeprefix("vertebrae_")
        if level[0] in "CTL":
            heights[level.replace("T", "Th")] = places()[name].superior_mm
    return {name: score_at(height) for name, height in sorted(heights.items(), key=lambda item: item[1])}


def bounds_of(part: tuple[str | None, str | None], scores: Mapping[str, float]) -> tuple[float, float]:
    """Lowest and highest score of a part that two landmarks bound."""
    lowest, highest = part
    return (
        -float("inf") if lowest is None else scores[lowest],
        float("inf") if highest is None else scores[highest],
    )
