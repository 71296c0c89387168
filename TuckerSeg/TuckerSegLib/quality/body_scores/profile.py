"""Scores of the slices of one volume: cleaned, and what their slope says of the header's spacing and direction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy.ndimage import gaussian_filter1d

from .landmarks import POINTS_PER_MM, usual_scores

SMOOTHING_MM = 10.0
NEAR_END = 10.0  # points; a volume that comes so near to 0 or 100 reaches that end of the scale
SLOPES_PER_MM = (-0.037, 0.25)  # of tails: the 0.5 % and 99.5 % quantiles of Body Part Regression
MOST_SLOPE_ERROR = 0.28  # of Body Part Regression
OF_THE_LINE = "of the line"


@dataclass(frozen=True)
class ScoreScale:
    """What is expected of scores.

    Attributes:
        landmarks: Usual score of each landmark.
        slope_per_mm: Points per mm along the body of an adult of average size.
        tail_slopes_per_mm: Least and largest slope beyond both ends of the scale.
    """

    landmarks: Mapping[str, float] = field(default_factory=usual_scores)
    slope_per_mm: float = POINTS_PER_MM
    tail_slopes_per_mm: tuple[float, float] = SLOPES_PER_MM


@dataclass(frozen=True, eq=False)
class BodyScores:
    """Scores of all slices, in the order in which the header says that they go up.

    Attributes:
        unprocessed: (Z,); NaN where there is none.
        cleaned: (Z,), smoothed, NaN also where a tail was left out.
        heights_mm: (Z,), where the header says that the slices lie, RAS.
        spacing_mm: Their distance.
        scale: What was expected.
        observed_slope: Points per mm, below 0 where the order of the slices is reversed; None where it was not
            measured, and nothing can be said of the distance of the slices.
    """

    unprocessed: np.ndarray
    cleaned: np.ndarray
    heights_mm: np.ndarray
    spacing_mm: float
    scale: ScoreScale
    observed_slope: float | None

    @property
    def slope_ratio(self) -> float | None:
        """Size of the slope over the expected one; above 1, the body is shorter than one expects."""
        slope = self.observed_slope
        return None if slope is None else abs(slope) / self.scale.slope_per_mm

    @property
    def valid_spacing(self) -> bool | None:
        """Whether the distance of the slices is plausible; None where it cannot be told."""
        ratio = self.slope_ratio
        return None if ratio is None else abs(1 - ratio) <= MOST_SLOPE_ERROR

    @property
    def expected_spacing_mm(self) -> float | None:
        """The distance of the slices that would fit the expected slope."""
        ratio = self.slope_ratio
        return None if ratio is None else ratio * self.spacing_mm

    @property
    def reversed(self) -> bool | None:
        """Whether the slices go from head to feet where the header says the other way round."""
        slope = _slope(self.cleaned, self.spacing_mm)
        return None if slope is None else slope < 0


def clean_scores(
    unprocessed: np.ndarray,
    heights_mm: np.ndarray,
    spacing_mm: float,
    scale: ScoreScale,
    observed_slope: float | Literal["of the line"] | None = OF_THE_LINE,
) -> BodyScores:
    """Smooth scores, and leave out tails beyond 0 and 100 whose slope is none of a body.

    Args:
        unprocessed: (Z,); NaN where there is none.
        heights_mm: (Z,), RAS.
        spacing_mm: Distance of the slices.
        scale: What is expected.
        observed_slope: Points per mm, or that of a line through all cleaned scores, or None: it was not measured.
    """
    cleaned = np.array(unprocessed, dtype=float)
    known = np.flatnonzero(np.isfinite(cleaned))
    if len(known):
        cleaned[known] = gaussian_filter1d(cleaned[known], SMOOTHING_MM / spacing_mm)
    if len(known) > 1:
        kept = _without_tails(cleaned[known], spacing_mm, scale)
        cleaned[known[: kept.start]] = np.nan
        cleaned[known[kept.stop :]] = np.nan
    slope = _slope(cleaned, spacing_mm) if observed_slope == OF_THE_LINE else observed_slope
    return BodyScores(np.asarray(unprocessed, dtype=float), cleaned, heights_mm, spacing_mm, scale, slope)


def _without_tails(scores: np.ndarray, spacing_mm: float, scale: ScoreScale) -> slice:
    """The slices between both tails."""
    upwards = 1 if (_slope(scores, spacing_mm) or 0) >= 0 else -1
    slopes = upwards * np.diff(scores, append=2 * scores[-1] - scores[-2]) / spacing_mm
    lowest, highest = scale.tail_slopes_per_mm
    odd = np.flatnonzero((slopes < lowest) | (slopes > highest))
    first_end, last_end = (0.0, 100.0) if upwards > 0 else (100.0, 0.0)
    start, stop = 0, len(scores)
    if (at := _nearest(scores, first_end)) is not None and (before := odd[odd < at]).size:
        start = int(before.max()) + 1
    if (at := _nearest(scores, last_end)) is not None and (after := odd[odd > at]).size:
        stop = int(after.min())
    return slice(start, max(start, stop))


def _nearest(scores: np.ndarray, value: float) -> int | None:
    """Index of the score nearest to an end of the scale; None where none comes near."""
    distances = abs(scores - value)
    return int(distances.argmin()) if distances.min() < NEAR_END else None


def _slope(scores: np.ndarray, spacing_mm: float) -> float | None:
    known = np.flatnonzero(np.isfinite(scores))
    if len(known) < 2:
        return None
    return float(np.polyfit(known * spacing_mm, scores[known], 1)[0])
