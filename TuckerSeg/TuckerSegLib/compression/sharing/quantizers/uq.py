"""UQ: uniform quantization. A weight is rounded to a multiple of a step, the smallest that leaves few enough values."""

from __future__ import annotations

import numpy as np

from .codebook import Codebook, Settings, nearest

HALVINGS = 20  # of the interval in which the step is searched
GROWTH = 1.1
FINEST = 16  # times as fine as steps that fill the range: weights are few far from 0, so many multiples stay empty
TAKES_FEEDBACK = True


def fit(values: np.ndarray, importance: np.ndarray | None, settings: Settings) -> Codebook:
    """The multiples of the step that values are rounded to.

    Args:
        values: (N,), at least one.
        importance: Not looked at.
        settings: ``clusters`` counts: the step is searched until no more values than that are left.
    """
    ordered = np.sort(values.astype(np.float64))
    span = max(ordered[-1] - ordered[0], abs(ordered[0]) * 1e-6, 1e-30)
    coarse = span / max(1, settings.clusters - 1)
    fine = coarse / FINEST
    while len(_multiples(ordered, coarse)) > settings.clusters:
        fine, coarse = coarse, coarse * GROWTH
    for _ in range(HALVINGS):
        middle = (fine * coarse) ** 0.5
        if len(_multiples(ordered, middle)) > settings.clusters:
            fine = middle
        else:
            coarse = middle
    return Codebook(coarse * _multiples(ordered, coarse))


def assign(values: np.ndarray, importance: np.ndarray | None, codebook: Codebook, settings: Settings) -> np.ndarray:
    """Index of the nearest multiple of each value."""
    return nearest(values, codebook.centers)


def _multiples(ordered: np.ndarray, step: float) -> np.ndarray:
    """The different whole numbers that sorted values / step are rounded to."""
    whole = np.rint(ordered / step)
    return whole[np.flatnonzero(np.diff(whole, prepend=np.nan))]
