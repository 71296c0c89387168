"""Scores as the JSON that readers of Body Part Regression know, and as rows of a table.

Field names, units and numbers for yes and no are that program's; what it writes as NaN is null here, as JSON has none.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .landmarks import DISTINCT, EXAMINED, INCLUDED
from .profile import MOST_SLOPE_ERROR, SMOOTHING_MM, BodyScores
from .tag import NOTHING, body_part_tag, examined_slices, part_of_slices

COLUMNS = ("slice", "z mm", "score", "unprocessed score", "body part")


def as_document(scores: BodyScores) -> dict[str, Any]:
    """Everything that is known of a volume; slices are counted upwards as the header says, from 0."""
    slopes = scores.scale.tail_slopes_per_mm
    return {
        "cleaned slice scores": _numbers(scores.cleaned),
        "z": _numbers(np.arange(len(scores.cleaned)) * scores.spacing_mm),
        "unprocessed slice scores": _numbers(scores.unprocessed),
        "body part examined": {part: [float(i) for i in slices] for part, slices in examined_slices(scores).items()},
        "body part examined tag": body_part_tag(scores),
        "body part ranges": _ranges(scores),
        "look-up table": {name: {"mean": round(score, 3)} for name, score in scores.scale.landmarks.items()},
        "reverse z-ordering": _number(scores.reversed),
        "valid z-spacing": _number(scores.valid_spacing),
        "expected slope": scores.scale.slope_per_mm,
        "observed slope": scores.observed_slope,
        "slope ratio": scores.slope_ratio,
        "expected z-spacing": scores.expected_spacing_mm,
        "z-spacing": scores.spacing_mm,
        "settings": {
            "slice score processing": {
                "slope_mean": scores.scale.slope_per_mm,
                "tangential_slope_min": slopes[0],
                "tangential_slope_max": slopes[1],
                "r_slope_threshold": MOST_SLOPE_ERROR,
                "smoothing_sigma": SMOOTHING_MM,
            },
            "body part examined dict": {part: list(between) for part, between in EXAMINED.items()},
            "body part examined tag": {
                "body parts included": {part: list(landmarks) for part, (_, landmarks) in INCLUDED.items()},
                "distinct body parts": {part: list(between) for part, between in DISTINCT.items()},
                "min present landmarks": {part: fewest for part, (fewest, _) in INCLUDED.items()},
            },
        },
    }


def slice_rows(scores: BodyScores) -> list[tuple[Any, ...]]:
    """A header, and a row per slice: number, height in mm (RAS), scores, and the one part that it belongs to."""
    columns = scores.heights_mm, scores.cleaned, scores.unprocessed
    numbers = zip(*(map(_number, column) for column in columns))
    return [COLUMNS, *((i, *row, part) for i, (row, part) in enumerate(zip(numbers, part_of_slices(scores))))]


def _ranges(scores: BodyScores) -> dict[str, dict[str, float]]:
    """First and last slice of each part, and where these lie in mm (RAS)."""
    of_slices = np.array(part_of_slices(scores), dtype=object)
    ranges = {}
    for part in dict.fromkeys(of_slices):
        if part != NOTHING:
            first, last = np.flatnonzero(of_slices == part)[[0, -1]]
            heights = sorted((float(scores.heights_mm[first]), float(scores.heights_mm[last])))
            ranges[part] = {"first slice": int(first), "last slice": int(last), "lowest mm": heights[0]}
            ranges[part]["highest mm"] = heights[1]
    return ranges


def _numbers(values: np.ndarray) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: float | bool | None) -> float | None:
    """A number of JSON, 1 and 0 for yes and no; None for what is not known."""
    return None if value is None or not np.isfinite(value) else float(value)
