"""Ranks of one layer from the spectra of its weight alone."""

from __future__ import annotations

import math

import numpy as np


def rank_of_energy(spectrum: np.ndarray, share: float) -> int:
    """The smallest rank whose singular values keep a share of the squared norm.

    Args:
        spectrum: Singular values, falling.
        share: Above 0 up to 1.
    """
    energy = np.cumsum(np.square(np.asarray(spectrum, dtype=np.float64)))
    if energy[-1] <= 0:
        return 1
    return int(np.searchsorted(energy, share * energy[-1] * (1 - 1e-12)) + 1)


def rank_of_evbmf(spectrum: np.ndarray, columns: int) -> int:
    """The rank that empirical variational Bayes finds in a noisy matrix, noise estimated from the matrix.

    The global analytic solution of Nakajima, Sugiyama, Babacan and Tomioka 2013, "Global analytic solution of
    fully-observed variational Bayesian matrix factorization", JMLR 14.

    Args:
        spectrum: All singular values, falling; as many as the matrix has rows.
        columns: Of the matrix; not fewer than its rows.

    Returns:
        At least 1.
    """
    from scipy.optimize import minimize_scalar

    values = np.asarray(spectrum, dtype=np.float64)
    rows = len(values)
    if rows > columns:
        raise ValueError(f"an unfolding has at least as many columns as rows, not {rows} x {columns}")
    energy = float(np.square(values).sum())
    if energy <= 0:
        return 1
    ratio = rows / columns
    least = 2.5129 * math.sqrt(ratio)
    edge = (1 + least) * (1 + ratio / least)

    def free_energy(log_variance: float) -> float:
        return _free_energy(values, columns, math.exp(log_variance), ratio, edge)

    most_rank = min(math.ceil(rows / (1 + ratio)) - 1, rows - 1)
    tail = values[most_rank + 1 :] if most_rank + 1 < rows else values[-1:]
    low = max(
        float(np.square(values[min(most_rank + 1, rows - 1)]) / (columns * edge)),
        float(np.square(tail).mean() / columns),
    )
    high = energy / (rows * columns)
    low = max(min(low, high), high * 1e-12)
    if low < high:
        grid = np.linspace(math.log(low), math.log(high), 64)
        best = int(np.argmin([free_energy(point) for point in grid]))
        around = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
        log_variance = minimize_scalar(free_energy, bounds=around, method="bounded").x
    else:
        log_variance = math.log(high)
    threshold = math.sqrt(columns * math.exp(log_variance) * edge)
    return max(1, int((values > threshold).sum()))


def _free_energy(values: np.ndarray, columns: int, variance: float, ratio: float, edge: float) -> float:
    """Twice the free energy over the number of columns, as a function of the noise variance; constants left out."""
    x = np.maximum(np.square(values) / (columns * variance), 1e-300)
    large, small = x[x > edge], x[x <= edge]
    total = float((small - np.log(small)).sum())
    if len(large):
        shifted = large - (1 + ratio)
        tau = 0.5 * (shifted + np.sqrt(np.maximum(shifted**2 - 4 * ratio, 0)))
        total += float((large - tau).sum() + np.log((tau + 1) / large).sum() + ratio * np.log(tau / ratio + 1).sum())
    return total
