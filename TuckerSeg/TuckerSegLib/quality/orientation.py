"""Whether structures lie as the directions of the header say: left and right, front and back, head and feet.

A network that is given a mirrored patient finds what it knows by its looks on the wrong side (the liver), and names
what looks alike by its place (the kidneys). So structures without a counterpart decide about left and right, each with
the weight of its volume, and what is named left or right is judged apart. Against the spine, which both directions
share, they are compared to ``layout``; along the body's axis all are compared with each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .layout import mirror_image
from .measuring import Measured

LEFT_RIGHT, FRONT_BACK, HEAD_FEET = AXES = ("left-right", "front-back", "head-feet")
FITS, FLIPPED = 0.6, -0.3  # at least, at most; between them the layout fits neither way
FULL_VOTE = 0.5  # of the expected distance: less counts in proportion, more counts no more
LEAST_DISTANCE_MM = (10.0, 20.0, 50.0)  # expected; nearer to each other, structures say nothing
LEAST_FOUND_MM = 10.0  # along the body's axis: nearer, both may merely be cut by the same border
LARGEST_VOTE_ML = 1500.0
LEAST_VOTERS, LEAST_VOTED_ML = (2, 3, 4), (20.0, 20.0, 20.0)


@dataclass(frozen=True)
class Agreement:
    """How well the layout along one axis fits.

    Attributes:
        score: 1: all as expected; -1: all the other way round; None: too little was found to tell.
        voters: How many structures were asked.
        against: Names of the structures that say otherwise, the largest first.
    """

    score: float | None = None
    voters: int = 0
    against: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        return self.score is not None and self.score >= FITS

    @property
    def flipped(self) -> bool:
        return self.score is not None and self.score <= FLIPPED

    @property
    def doubtful(self) -> bool:
        return self.score is not None and not self.fits and not self.flipped


def agreement_along(axis: int, structures: Sequence[Measured]) -> Agreement:
    """Compare the layout along an axis of ``AXES`` with what is expected."""
    if axis == 2:
        return _along_the_body(structures)
    expected, found = _beside_the_spine(axis, structures)
    voters = [
        (each, wanted, is_at)
        for each, wanted, is_at in zip(structures, expected, found)
        if abs(wanted) >= LEAST_DISTANCE_MM[axis]
        and not each.place.in_spine
        and (axis == 1 or mirror_image(each.place) is None)
    ]
    if not voters:
        return Agreement()
    weights = np.array([min(each.volume_ml, LARGEST_VOTE_ML) for each, _, _ in voters])
    votes = np.array([_vote(is_at, wanted) for _, wanted, is_at in voters])
    if len(voters) < LEAST_VOTERS[axis] or weights.sum() < LEAST_VOTED_ML[axis]:
        return Agreement(voters=len(voters))
    against = [each.name for vote, weight, (each, _, _) in _largest_first(votes, weights, voters) if vote < 0]
    return Agreement(float(weights @ votes / weights.sum()), len(voters), tuple(against))


def agreement_of_sides(structures: Sequence[Measured]) -> Agreement:
    """Compare what is named left with its counterpart that is named right."""
    by_name = {each.place.name: each for each in structures}
    voters, votes, weights = [], [], []
    for right in structures:
        other = mirror_image(right.place)
        left = by_name.get(other.name) if other is not None and right.place.right_mm > 0 else None
        if left is not None:
            voters.append(right.name)
            votes.append(_vote(right.center_mm[0] - left.center_mm[0], 2 * right.place.right_mm))
            weights.append(min(left.volume_ml, right.volume_ml))
    if len(voters) < LEAST_VOTERS[0]:
        return Agreement(voters=len(voters))
    against = [name for vote, _, name in _largest_first(votes, weights, voters) if vote < 0]
    return Agreement(float(np.dot(weights, votes) / np.sum(weights)), len(voters), tuple(against))


def _beside_the_spine(axis: int, structures: Sequence[Measured]) -> tuple[np.ndarray, np.ndarray]:
    """Expected and found distances from the spine at each structure's level, or from the center of all without it."""
    expected = np.array([(each.place.right_mm, each.place.anterior_mm)[axis] for each in structures])
    found = np.array([each.center_mm[axis] for each in structures])
    spine = sorted((each.center_mm[2], each.center_mm[axis]) for each in structures if each.place.in_spine)
    if spine:
        return expected, found - np.interp([each.center_mm[2] for each in structures], *zip(*spine))
    weights = np.array([each.volume_ml for each in structures])
    return expected - np.average(expected, weights=weights), found - np.average(found, weights=weights)


def _along_the_body(structures: Sequence[Measured]) -> Agreement:
    voters = [each for each in structures if each.place.superior_mm is not None]
    first, second = np.triu_indices(len(voters), 1)
    expected = np.array([each.place.superior_mm for each in voters])
    found = np.array([each.center_mm[2] for each in voters])
    roots = np.sqrt([min(each.volume_ml, LARGEST_VOTE_ML) for each in voters])  # else organs silence all vertebrae
    wanted, is_at = expected[first] - expected[second], found[first] - found[second]
    counted = (np.abs(wanted) >= LEAST_DISTANCE_MM[2]) & (np.abs(is_at) >= LEAST_FOUND_MM)
    first, second = first[counted], second[counted]
    asked = sorted({*first.tolist(), *second.tolist()})
    if len(asked) < LEAST_VOTERS[2]:
        return Agreement(voters=len(asked))
    weights = np.minimum(roots[first], roots[second])
    votes = np.sign(wanted[counted] * is_at[counted])
    balance = np.bincount(first, weights * votes, len(voters)) + np.bincount(second, weights * votes, len(voters))
    names = [each.name for each in voters]
    against = [name for vote, _, name in _largest_first(balance, roots, names) if vote < 0]
    return Agreement(float(weights @ votes / weights.sum()), len(asked), tuple(against))


def _vote(found: float, expected: float) -> float:
    return float(np.clip(found / (FULL_VOTE * expected), -1, 1))


def _largest_first(votes: Sequence[float], weights: Sequence[float], voters: Sequence) -> list[tuple]:
    return sorted(zip(votes, weights, voters), key=lambda item: -item[1])
