"""Measures how well structures lie along the header's directions: left-right, front-back, head-feet.

A network that is given a mirrored patient finds what it knows by its looks on the wrong side (the liver), and names
what looks alike by its place (the kidneys). So structures without a counterpart decide about left and right, each with
the weight of its volume, and what is named left or right is judged apart. Against the spine, which both directions
share, they are compared to ``layout``; along the body's axis all are compared with each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .body_layout import mirror_image
from .measuring import MeasuredStructure

LEFT_RIGHT, FRONT_BACK, HEAD_FEET = AXES = ("left-right", "front-back", "head-feet")
FITS, FLIPPED = 0.6, -0.3  # at least, at most; between them the layout fits neither way
FULL_VOTE = 0.5  # of the expected distance: less counts in proportion, more counts no more
LEAST_DISTANCE_MM = (10.0, 20.0, 50.0)  # expected; nearer to each other, structures say nothing
LEAST_MEASURED_MM = 10.0  # along the body's axis: nearer, both may merely be cut by the same border
LARGEST_VOTE_ML = 1500.0
LEAST_VOTERS, LEAST_VOTED_ML = (2, 3, 4), (20.0, 20.0, 20.0)


@dataclass(frozen=True)
class Agreement:
    """How well the layout of structures along one axis fits the header's direction.

    Attributes:
        score: From 1, all structures as expected, to -1, all reversed; None where there are too few to tell.
        voters: Number of structures that were compared.
        against: Names of the structures that lie the other way round, the largest first.
    """

    score: float | None = None
    voters: int = 0
    against: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether the layout is the usual one."""
        return self.score is not None and self.score >= FITS

    @property
    def flipped(self) -> bool:
        """Whether the layout is the usual one's mirror image."""
        return self.score is not None and self.score <= FLIPPED

    @property
    def doubtful(self) -> bool:
        """Whether there is a score that says neither."""
        return self.score is not None and not self.fits and not self.flipped


def agreement_along(axis: int, structures: Sequence[MeasuredStructure]) -> Agreement:
    """Compare the layout along an axis with the usual one.

    Args:
        axis: Index in ``AXES``.
        structures: The structures of the segmentation, measured.
    """
    if axis == 2:
        return _agreement_along_the_body(structures)
    expected_mm, measured_mm = _distances_from_spine(axis, structures)
    voters = [
        (each, expected, measured)
        for each, expected, measured in zip(structures, expected_mm, measured_mm)
        if abs(expected) >= LEAST_DISTANCE_MM[axis]
        and not each.place.in_spine
        and (axis == 1 or mirror_image(each.place) is None)
    ]
    if not voters:
        return Agreement()
    weights = np.array([min(each.volume_ml, LARGEST_VOTE_ML) for each, _, _ in voters])
    votes = np.array([_vote(measured, expected) for _, expected, measured in voters])
    if len(voters) < LEAST_VOTERS[axis] or weights.sum() < LEAST_VOTED_ML[axis]:
        return Agreement(voters=len(voters))
    against = [each.name for vote, weight, (each, _, _) in _largest_first(votes, weights, voters) if vote < 0]
    return Agreement(float(weights @ votes / weights.sum()), len(voters), tuple(against))


def agreement_of_sides(structures: Sequence[MeasuredStructure]) -> Agreement:
    """Compare each structure that is named left with its counterpart that is named right."""
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


def _distances_from_spine(axis: int, structures: Sequence[MeasuredStructure]) -> tuple[np.ndarray, np.ndarray]:
    """Usual and measured distances in mm from the spine at each structure's level; without one, from all's center."""
    expected = np.array([(each.place.right_mm, each.place.anterior_mm)[axis] for each in structures])
    measured = np.array([each.center_mm[axis] for each in structures])
    spine = sorted((each.center_mm[2], each.center_mm[axis]) for each in structures if each.place.in_spine)
    if spine:
        return expected, measured - np.interp([each.center_mm[2] for each in structures], *zip(*spine))
    weights = np.array([each.volume_ml for each in structures])
    return expected - np.average(expected, weights=weights), measured - np.average(measured, weights=weights)


def _agreement_along_the_body(structures: Sequence[MeasuredStructure]) -> Agreement:
    """Compare the heights of all pairs of structures with the usual ones."""
    voters = [each for each in structures if each.place.superior_mm is not None]
    first, second = np.triu_indices(len(voters), 1)
    expected = np.array([each.place.superior_mm for each in voters])
    measured = np.array([each.center_mm[2] for each in voters])
    roots = np.sqrt([min(each.volume_ml, LARGEST_VOTE_ML) for each in voters])  # else organs silence all vertebrae
    expected_mm, measured_mm = expected[first] - expected[second], measured[first] - measured[second]
    far_apart = (np.abs(expected_mm) >= LEAST_DISTANCE_MM[2]) & (np.abs(measured_mm) >= LEAST_MEASURED_MM)
    first, second = first[far_apart], second[far_apart]
    paired = {*first.tolist(), *second.tolist()}
    if len(paired) < LEAST_VOTERS[2]:
        return Agreement(voters=len(paired))
    weights = np.minimum(roots[first], roots[second])
    votes = np.sign(expected_mm[far_apart] * measured_mm[far_apart])
    balance = np.bincount(first, weights * votes, len(voters)) + np.bincount(second, weights * votes, len(voters))
    names = [each.name for each in voters]
    against = [name for vote, _, name in _largest_first(balance, roots, names) if vote < 0]
    return Agreement(float(weights @ votes / weights.sum()), len(paired), tuple(against))


def _vote(measured_mm: float, expected_mm: float) -> float:
    """From 1, on the expected side, to -1, on the other; in proportion to the distance up to ``FULL_VOTE`` of it."""
    return float(np.clip(measured_mm / (FULL_VOTE * expected_mm), -1, 1))


def _largest_first(votes: Sequence[float], weights: Sequence[float], voters: Sequence) -> list[tuple]:
    return sorted(zip(votes, weights, voters), key=lambda item: -item[1])
