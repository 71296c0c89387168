"""Reads scores off a segmentation: structures of known usual height are landmarks, the vertebrae before others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...image import Geometry, oriented, segment_volumes_ml
from ..measuring import MeasuredStructure, measure_structures
from .landmarks import POINTS_PER_MM, score_at
from .profile import BodyScores, ScoreScale, clean_scores

FEWEST_VERTEBRAE = 3  # and they are the ruler; other structures then serve only beyond them
SPINE_MM = 40.0  # expected between the first and the last of them
BEYOND_MM = 20.0
APART_MM = 15.0  # expected; nearer to each other, two say nothing of the slope
SPINE_WEIGHT = 5.0  # organs move, vertebrae do not
FARTHEST_MM = 60.0  # expected, from the line through all: one that is farther off is a mistake
REACH_MM = 60.0  # beyond all that is labeled, slices have no score


def scores_of_labels(labels: np.ndarray, geometry: Geometry, names: Mapping[int, str]) -> BodyScores:
    """Score every slice of a segmentation.

    Args:
        labels: (Z, Y, X), whole numbers.
        geometry: Its grid.
        names: Label value to name, as of TotalSegmentator.

    Returns:
        Scores that rise along the slices, or fall where their order is reversed; all NaN where too little is known.
    """
    turned, grid = oriented(labels, geometry)
    structures = measure_structures(turned, grid, names, segment_volumes_ml(turned, grid, names))
    heights = _heights_mm(grid)
    scores, slope = scores_at(heights, structures)
    return clean_scores(scores, heights, float(grid.spacing_mm[0]), ScoreScale(), slope)


def scores_at(heights_mm: np.ndarray, structures: Sequence[MeasuredStructure]) -> tuple[np.ndarray, float | None]:
    """Scores at some heights.

    Args:
        heights_mm: (Z,), RAS.
        structures: The structures of the segmentation, measured.

    Returns:
        (Z,), monotone, NaN far from all structures, or everywhere where no landmark is whole; and the points per mm of
        the spine. Without one they are those of an average adult, and None is given.
    """
    landmarks, has_spine = _landmarks(structures)
    if not landmarks:
        return np.full(len(heights_mm), np.nan), None
    measured = np.array([each.center_mm[2] for each in landmarks])
    expected = np.array([each.place.superior_mm for each in landmarks])
    weights = np.array([SPINE_WEIGHT if each.place.in_spine else 1.0 for each in landmarks])
    in_spine = weights == SPINE_WEIGHT
    if has_spine:  # what lies beyond it may be cut unnoticed
        slope = _median_slope(measured[in_spine], expected[in_spine], weights[in_spine]) or 1.0
    else:
        slope = float(np.sign(_median_slope(measured, expected, weights) or 1.0))
    off = expected - slope * measured
    near = abs(off - _weighted_median(off, weights)) <= FARTHEST_MM
    if has_spine:
        knots = _monotone(measured[near], expected[near], weights[near], np.sign(slope))
    else:
        knots = tuple(np.average([measured[near], expected[near]], axis=1, weights=weights[near])[:, None])
    at = _continued(heights_mm, *knots, slope)
    lowest, highest = min(each.lowest_mm for each in structures), max(each.highest_mm for each in structures)
    in_reach = (heights_mm >= lowest - REACH_MM) & (heights_mm <= highest + REACH_MM)
    return np.where(in_reach, score_at(at), np.nan), slope * POINTS_PER_MM if has_spine else None


def _landmarks(structures: Sequence[MeasuredStructure]) -> tuple[list[MeasuredStructure], bool]:
    """Whole structures of known height, and whether there is enough of a spine among them."""
    known = [each for each in structures if _is_landmark(each)]
    spine = [each.place.superior_mm for each in known if each.place.in_spine]
    if len(spine) < FEWEST_VERTEBRAE or max(spine) - min(spine) < SPINE_MM:
        return known, False
    lowest, highest = min(spine) - BEYOND_MM, max(spine) + BEYOND_MM
    return [each for each in known if each.place.in_spine or not lowest < each.place.superior_mm < highest], True


def _is_landmark(structure: MeasuredStructure) -> bool:
    """Whether a structure is whole and its height known; long ones have no known volume, and are cut unnoticed."""
    place = structure.place
    if structure.partial or place.superior_mm is None or place.volume_ml is None:
        return False
    return place.in_spine or structure.volume_ml >= place.volume_ml[0]


def _median_slope(measured: np.ndarray, expected: np.ndarray, weights: np.ndarray) -> float | None:
    """Slope of a line through the landmarks that mistaken ones do not turn; pairs weigh as much as their lighter one.

    Source: Sen 1968, J. Am. Stat. Assoc. 63(324).
    """
    first, second = np.triu_indices(len(expected), 1)
    far = (abs(expected[first] - expected[second]) >= APART_MM) & (measured[first] != measured[second])
    first, second = first[far], second[far]
    if not len(first):
        return None
    slopes = (expected[first] - expected[second]) / (measured[first] - measured[second])
    slope = _weighted_median(slopes, np.minimum(weights[first], weights[second]))
    return slope if slope else None


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values)
    shares = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][np.searchsorted(shares, 0.5)])


def _monotone(
    measured: np.ndarray, expected: np.ndarray, weights: np.ndarray, sign: float
) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks in order along the body; neighbors that contradict it become one, at their mean (pool of violators)."""
    blocks: list[np.ndarray] = []  # weight, weighted measured and expected height
    for index in np.argsort(measured):
        blocks.append(weights[index] * np.array([1.0, measured[index], sign * expected[index]]))
        while len(blocks) > 1 and blocks[-2][2] / blocks[-2][0] >= blocks[-1][2] / blocks[-1][0]:
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    weight, at, height = np.array(blocks).T
    return at / weight, sign * height / weight


def _continued(at: np.ndarray, measured: np.ndarray, expected: np.ndarray, slope: float) -> np.ndarray:
    """Between the landmarks interpolated, beyond them continued by the slope of all."""
    inside = np.interp(at, measured, expected)
    return inside + slope * (np.minimum(at - measured[0], 0) + np.maximum(at - measured[-1], 0))


def _heights_mm(grid: Geometry) -> np.ndarray:
    """Height of the middle of every slice, RAS."""
    depth, height, width = grid.shape
    middle = grid.matrix @ np.array([(width - 1) / 2, (height - 1) / 2, 0.0, 1.0])
    return middle[2] + grid.matrix[2, 2] * np.arange(depth)
