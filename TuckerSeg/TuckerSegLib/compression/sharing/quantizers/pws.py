"""PWS: stochastic rounding. A weight becomes one of the two ends of its interval, so that its mean is the weight."""

from __future__ import annotations

import numpy as np

from .codebook import Codebook, Settings

TAKES_FEEDBACK = False  # a weight that took on errors of others would not be rounded to its own mean


def fit(values: np.ndarray, importance: np.ndarray | None, settings: Settings) -> Codebook:
    """Ends of ``clusters`` - 1 intervals that hold equally many values.

    Args:
        values: (N,), at least one.
        importance: Not looked at.
        settings: ``clusters`` counts.
    """
    return Codebook(np.unique(np.quantile(values.astype(np.float64), np.linspace(0, 1, max(2, settings.clusters)))))


def assign(values: np.ndarray, importance: np.ndarray | None, codebook: Codebook, settings: Settings) -> np.ndarray:
    """Index of an end of each value's interval, the upper one with the probability (w - lower) / (upper - lower).

    Args:
        values: (N,).
        importance: Not looked at.
        codebook: Of :func:`fit`. Values beyond it become its nearest end.
        settings: ``seed`` counts.
    """
    centers = codebook.centers
    if len(centers) == 1:
        return np.zeros(len(values), np.int64)
    lower = np.clip(np.searchsorted(centers, values, side="right") - 1, 0, len(centers) - 2)
    share = (values - centers[lower]) / (centers[lower + 1] - centers[lower])
    return lower + (np.random.default_rng(settings.seed).random(len(values)) < share)
