"""CWS: k-means. A weight becomes the mean of its cluster.

The reference runs k-means on random mini-batches, since all weights are many. In one dimension they need not be
looked at one by one: clusters are intervals of the sorted weights, and sums over intervals are differences of running
sums. So a round over all weights costs as much as there are clusters, less than a mini-batch, and neither depends on
a seed nor stops with the batch's noise.
"""

from __future__ import annotations

import heapq

import numpy as np

from .codebook import Codebook, Settings, importance_of, nearest

MOST_ROUNDS = 300
TOLERANCE = 1e-6  # of the values' range
BINS = 4096
TAKES_FEEDBACK = True


def fit(values: np.ndarray, importance: np.ndarray | None, settings: Settings) -> Codebook:
    """Centers of clusters whose weighted squared error no small move of a center makes smaller (Lloyd 1957).

    Args:
        values: (N,), at least one.
        importance: (N,) above 0, how much the squared error of each value counts; None: all alike.
        settings: ``clusters`` counts.
    """
    order = np.argsort(values)
    ordered, mass = values[order].astype(np.float64), importance_of(values, importance)[order].astype(np.float64)
    distinct = ordered[np.flatnonzero(np.diff(ordered, prepend=np.nan))]
    if len(distinct) <= settings.clusters:
        return Codebook(distinct)
    sums, moments = (np.concatenate(([0.0], np.cumsum(each))) for each in (mass, mass * ordered))
    centers = _merged(ordered, sums, moments, settings.clusters)
    for _ in range(MOST_ROUNDS):
        cuts = np.searchsorted(ordered, (centers[1:] + centers[:-1]) / 2, side="right")
        edges = np.concatenate(([0], cuts, [len(ordered)]))
        total, moment = np.diff(sums[edges]), np.diff(moments[edges])
        moved = np.where(total > 0, moment / np.where(total > 0, total, 1), centers)
        done = np.abs(moved - centers).max() <= TOLERANCE * (ordered[-1] - ordered[0])
        centers = np.sort(moved)
        if done:
            break
    return Codebook(centers)


def assign(values: np.ndarray, importance: np.ndarray | None, codebook: Codebook, settings: Settings) -> np.ndarray:
    """Index of the nearest center of each value."""
    return nearest(values, codebook.centers)


def _merged(ordered: np.ndarray, sums: np.ndarray, moments: np.ndarray, clusters: int) -> np.ndarray:
    """Centers to begin with: of many small intervals, those two neighbors are made one whose union costs least (Ward).

    So every cluster has members, and the rounds end near the best clustering there is.
    """
    edges = _fine_edges(ordered, np.diff(sums), max(BINS, 4 * clusters))
    mass, moment = np.diff(sums[edges]).tolist(), np.diff(moments[edges]).tolist()
    before, after = list(range(-1, len(mass) - 1)), list(range(1, len(mass) + 1))

    def cost(left: int, right: int) -> tuple[float, int, int, float, float]:
        gap = moment[left] / mass[left] - moment[right] / mass[right]
        return gap * gap * mass[left] * mass[right] / (mass[left] + mass[right]), left, right, mass[left], mass[right]

    queue = [cost(left, left + 1) for left in range(len(mass) - 1)]
    heapq.heapify(queue)
    left_over = len(mass)
    while left_over > clusters:
        _, left, right, left_mass, right_mass = heapq.heappop(queue)
        if (mass[left], mass[right]) != (left_mass, right_mass):
            continue  # one of them was merged meanwhile
        mass[left], moment[left], mass[right] = mass[left] + mass[right], moment[left] + moment[right], 0.0
        after[left] = after[right]
        if after[left] < len(mass):
            before[after[left]] = left
            heapq.heappush(queue, cost(left, after[left]))
        if before[left] >= 0:
            heapq.heappush(queue, cost(before[left], left))
        left_over -= 1
    return np.array([center / weight for center, weight in zip(moment, mass) if weight])


def _fine_edges(ordered: np.ndarray, mass: np.ndarray, bins: int) -> np.ndarray:
    """Where small intervals of sorted values begin and end: as dense as the cube root of the values' density.

    That is nearly the density of the best centers (Panter & Dite 1951). No interval is empty, and equal values are in
    one.
    """
    density, places = np.histogram(ordered, BINS, weights=mass)
    filled = np.concatenate(([0.0], np.cumsum(np.cbrt(density))))
    cuts = np.interp(np.arange(1, bins) / bins * filled[-1], filled, places)
    distinct = np.flatnonzero(np.diff(ordered, prepend=np.nan))
    inner = distinct if len(distinct) <= bins else np.searchsorted(ordered, cuts)
    return np.unique(np.concatenate(([0], inner, [len(ordered)])))
