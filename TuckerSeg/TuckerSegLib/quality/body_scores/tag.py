"""Which parts of the body a volume shows, told from the scores of its slices."""

from __future__ import annotations

from collections import Counter

import numpy as np

from .landmarks import DISTINCT, EXAMINED, INCLUDED, bounds_of
from .profile import BodyScores

NOTHING = "NONE"
SHORT_MM = 100.0  # a shorter volume is called by what most of its slices show


def examined_slices(scores: BodyScores) -> dict[str, list[int]]:
    """Indices of the slices that show each part of the body; parts overlap."""
    slices = {}
    for part, landmarks in EXAMINED.items():
        lowest, highest = bounds_of(landmarks, scores.scale.landmarks)
        with np.errstate(invalid="ignore"):
            slices[part] = np.flatnonzero((scores.cleaned >= lowest) & (scores.cleaned < highest)).tolist()
    return slices


def part_of_slices(scores: BodyScores) -> list[str]:
    """The one part that each slice belongs to; ``NONE`` for legs, and where there is no score."""
    landmarks = scores.scale.landmarks
    bounds = {part: bounds_of(between, landmarks) for part, between in DISTINCT.items() if between[1] in landmarks}
    if "HEAD" not in bounds:  # the top of the head is no landmark of every scale
        bounds["HEAD"] = (landmarks["C3"], float("inf"))
    return [
        next((part for part, (lowest, highest) in bounds.items() if lowest <= score < highest), NOTHING)
        for score in scores.cleaned
    ]


def body_part_tag(scores: BodyScores) -> str:
    """What DICOM calls Body Part Examined: the parts from head to pelvis, as CHEST-ABDOMEN; ``NONE`` where unknown.

    Slices at an implausible distance are called nothing.
    """
    if scores.valid_spacing is False or not np.isfinite(scores.cleaned).any():
        return NOTHING
    parts = list(DISTINCT)
    shown = [number for number, part in enumerate(parts) if _shows(scores, part)]
    if shown and len(scores.cleaned) * scores.spacing_mm >= SHORT_MM:
        return "-".join(reversed(parts[shown[0] : shown[-1] + 1]))
    slices = Counter(part for part in part_of_slices(scores) if part != NOTHING)
    return slices.most_common(1)[0][0] if slices else NOTHING


def _shows(scores: BodyScores, part: str) -> bool:
    """Whether the volume reaches beyond enough of a part's landmarks."""
    fewest, landmarks = INCLUDED[part]
    known = scores.cleaned[np.isfinite(scores.cleaned)]
    lowest, highest = known.min(), known.max()
    present = [name for name in landmarks if lowest < scores.scale.landmarks.get(name, np.inf) < highest]
    return len(present) >= fewest
