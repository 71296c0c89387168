"""Seconds per unit of work from the seconds of whole networks: least squares of the relative errors, none negative."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..records.layer_times import Work

SWEEPS = 2000
TOLERANCE = 1e-9  # of a term's seconds, relative


def fitted_seconds(works: Sequence[Work], seconds: Sequence[float]) -> dict[str, float]:
    """Seconds per unit of every term that occurs.

    Args:
        works: Of each measured network.
        seconds: That it took; above 0.

    Returns:
        Term to seconds per unit, at least 0: those by which the sum of squared relative errors is smallest.
    """
    terms = sorted({term for work in works for term in work})
    shares = np.array([[work.get(term, 0.0) / took for term in terms] for work, took in zip(works, seconds)])
    scales = np.linalg.norm(shares, axis=0)
    scales[scales == 0] = 1
    solution = _non_negative(shares / scales, np.ones(len(works)))
    return {term: float(value) for term, value in zip(terms, solution / scales)}


def _non_negative(matrix: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Least squares with no negative unknowns, one unknown after the other until none moves."""
    gram, right = matrix.T @ matrix, matrix.T @ target
    solution = np.zeros(len(right))
    diagonal = np.where(np.diag(gram) > 0, np.diag(gram), 1)
    for _ in range(SWEEPS):
        largest = 0.0
        for number in range(len(solution)):
            step = (right[number] - gram[number] @ solution) / diagonal[number]
            moved = max(0.0, solution[number] + step)
            largest = max(largest, abs(moved - solution[number]))
            solution[number] = moved
        if largest <= TOLERANCE:
            break
    return solution
