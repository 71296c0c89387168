"""ECSQ: entropy-constrained scalar quantization (Chou, Lookabaugh & Gray 1989).

A weight goes to the center whose squared error, and the bits of its index with it, cost least: centers that many use
are cheap, so that they attract more, and centers that few use die out. With a price of 0 it is k-means.
"""

from __future__ import annotations

import numpy as np

from . import cws
from .codebook import Codebook, Settings, importance_of, nearest

MOST_ROUNDS = 60
TOLERANCE = 1e-5  # of the cost
GROUPS = 16  # importances are told apart in as many powers of two
TAKES_FEEDBACK = True


def fit(values: np.ndarray, importance: np.ndarray | None, settings: Settings) -> Codebook:
    """Centers, and the nats of their indices, that make weighted squared error + price * nats small.

    Args:
        values: (N,), at least one.
        importance: (N,) above 0, how much the squared error of each value counts; None: all alike.
        settings: ``clusters``, and ``nat_price`` in the unit of the weighted error.
    """
    start = cws.fit(values, importance, settings)  # the reference starts from equally filled intervals: coarse tails
    if not settings.nat_price:
        return start
    counted = importance_of(values, importance)
    groups = [_Group(values[chosen], counted[chosen]) for chosen in _groups(importance, len(values))]
    centers, last_cost = start.centers, np.inf
    nats = np.full(len(centers), np.log(len(centers)))
    for _ in range(MOST_ROUNDS):
        sums = sum(group.sums(centers, nats, settings.nat_price) for group in groups)
        alive = sums[0] > 0
        counts, masses, moments, squares = sums[:, alive]
        centers, nats = moments / masses, -np.log(counts / len(values))
        order = np.argsort(centers)
        cost = (squares - moments * centers).sum() + settings.nat_price * (counts * nats).sum()
        centers, nats = centers[order], nats[order]
        if last_cost - cost <= TOLERANCE * abs(cost):
            break
        last_cost = cost
    return Codebook(centers, nats)


def assign(values: np.ndarray, importance: np.ndarray | None, codebook: Codebook, settings: Settings) -> np.ndarray:
    """Index of the center that costs least for each value."""
    if not settings.nat_price:
        return nearest(values, codebook.centers)
    levels = np.rint(np.log2(importance_of(values, importance))).astype(int)
    indices = np.empty(len(values), np.int64)
    for level in np.unique(levels):
        chosen = levels == level
        winners, cuts = codebook.kept(
            ("cheapest", level, settings.nat_price),
            lambda level=level: cheapest(codebook.centers, codebook.nats, settings.nat_price / 2.0**level),
        )
        indices[chosen] = winners[np.searchsorted(cuts, values[chosen])]
    return indices


def cheapest(centers: np.ndarray, nats: np.ndarray, price: float) -> tuple[np.ndarray, np.ndarray]:
    """Which centers cost least of any value, in ascending order, and the values at which one takes over from another.

    (w - c)^2 + price * nats is, but for w^2, a straight line over w; what costs least is the lines' lower envelope.

    Args:
        centers, nats: (K,), centers ascending.
        price: Of a nat, in the unit of the squared error.

    Returns:
        Indices (M,) of those centers, and (M - 1,) values between them.
    """
    starts = (centers**2 + price * nats).tolist()
    places = centers.tolist()
    kept, cuts = [0], []
    for index in range(1, len(places)):
        while True:
            last = kept[-1]
            cut = (starts[index] - starts[last]) / (2 * (places[index] - places[last]))
            if not cuts or cut > cuts[-1]:
                break
            kept.pop()
            cuts.pop()
        kept.append(index)
        cuts.append(cut)
    return np.array(kept), np.array(cuts)


class _Group:
    """Values that count about alike, sorted, with running sums."""

    def __init__(self, values: np.ndarray, importance: np.ndarray):
        order = np.argsort(values)
        self._ordered, mass = values[order].astype(np.float64), importance[order].astype(np.float64)
        rows = [np.ones(len(mass)), mass, mass * self._ordered, mass * self._ordered**2]
        self._running = np.concatenate((np.zeros((4, 1)), np.cumsum(rows, axis=1)), axis=1)
        self._importance = mass.mean()

    def sums(self, centers: np.ndarray, nats: np.ndarray, nat_price: float) -> np.ndarray:
        """(4, K): number, importance, moment and squares of the values that each center gets."""
        winners, cuts = cheapest(centers, nats, nat_price / self._importance)
        edges = np.concatenate(([0], np.searchsorted(self._ordered, cuts, side="right"), [len(self._ordered)]))
        sums = np.zeros((4, len(centers)))
        sums[:, winners] = np.diff(self._running[:, edges], axis=1)
        return sums


def _groups(importance: np.ndarray | None, count: int) -> list[np.ndarray | slice]:
    """Which values belong together: those whose importance is about the same."""
    if importance is None:
        return [slice(0, count)]
    levels = np.rint(np.log2(importance / importance.max())).clip(1 - GROUPS, 0).astype(np.int8)
    return [np.flatnonzero(levels == level) for level in np.unique(levels)]
