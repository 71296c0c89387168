"""Uses the vertebrae as a ruler: checks their order, and whether their distances are those of a human spine.

The idea of reading the spacing from the order of what is found along the body, where Body Part Regression reads it from
scores of slices (Schuhegger 2021, arXiv:2110.09148).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

import numpy as np

from ..catalog.structures import title_of
from ..records.quality_report import WARNING, Finding
from .body_layout import VERTEBRAE, mirror_image, places
from .completeness import listed
from .measuring import MeasuredStructure

FEWEST = 3
FEWEST_RATIOS = 4
SPREAD = 1.5  # upper over lower quartile; what varies more is no ruler
ORDERED = 0.5  # mm; below, a vertebra lies no higher than the next one
PITCH = (0.5, 1.7)  # distance of neighbors over the median of all, both over what is expected
SIZE = (0.6, 1.45)  # of an adult of average size
PROPORTION = (0.65, 1.5)  # along the body over across it, which does not depend on age


@dataclass(frozen=True)
class _Step:
    """Two neighboring whole vertebrae, and the ratio of their distance to the usual one."""

    upper: MeasuredStructure
    lower: MeasuredStructure
    ratio: float


def check_vertebrae(structures: Sequence[MeasuredStructure]) -> Iterator[Finding]:
    """Report vertebrae that are not in order along the body, or whose distances are uneven."""
    spine = _spine(structures)
    if len(spine) < FEWEST:
        return
    heights = np.array([each.center_mm[2] for each in spine])
    down = np.diff(heights)
    wrong = down > -ORDERED if (down < 0).mean() >= 0.5 else down < ORDERED  # all of them: that is the header's fault
    names = [
        f"{title_of(upper.name)} and {title_of(lower.name)}"
        for upper, lower, odd in zip(spine, spine[1:], wrong)
        if odd
    ]
    if names:
        yield Finding(
            "vertebra-order",
            WARNING,
            f"The vertebrae are not in order along the body: {listed(names)} are exchanged or at one height. Their "
            "names are not to be relied on; look at the spine.",
            {"places": float(len(names)), "vertebrae": float(len(spine))},
        )
        return
    steps = _steps(spine)
    usual = median([step.ratio for step in steps]) if len(steps) >= FEWEST else None
    uneven = [step for step in steps if usual and not PITCH[0] <= step.ratio / usual <= PITCH[1]]
    if uneven:
        words = [f"{title_of(s.upper.name)} to {title_of(s.lower.name)} {s.ratio / usual:.1f} times" for s in uneven]
        yield Finding(
            "vertebra-distances",
            WARNING,
            f"The distances of the vertebrae are uneven: {listed(words)} what the others let expect. Slices may be "
            "missing there, or a vertebra was missed or counted twice.",
            {"places": float(len(uneven))},
        )


def check_scale(structures: Sequence[MeasuredStructure]) -> Iterator[Finding]:
    """Report a voxel size that makes a body of inhuman size or proportions."""
    along, across = body_length_ratio(structures), body_width_ratio(structures)
    numbers = {name: round(value, 3) for name, value in (("along", along), ("across", across)) if value}
    if along and across and not PROPORTION[0] <= along / across <= PROPORTION[1]:
        yield Finding(
            "spacing",
            WARNING,
            f"The spacing along the body is probably wrong: vertebrae are {along:.2f} times as far apart as in an "
            f"average adult, but left and right {across:.2f} times. Expected both alike; the distance of slices should "
            f"be about {across / along:.2f} times what the header says. Correct it, or convert the series again.",
            numbers,
        )
        return
    odd = [ratio for ratio in (along, across) if ratio and not SIZE[0] <= ratio <= SIZE[1]]
    if odd:
        ratio = max(odd, key=lambda value: abs(np.log(value)))
        yield Finding(
            "spacing",
            WARNING,
            f"The body would be {ratio:.2f} times as large as an average adult; expected {SIZE[0]:g} to {SIZE[1]:g}. "
            + ("It is a child, or the" if ratio < 1 else "The")
            + " voxel size in the header is wrong; check it.",
            numbers,
        )


def body_length_ratio(structures: Sequence[MeasuredStructure]) -> float | None:
    """Median ratio of the distances of neighboring vertebrae to an average adult's; None: too few or too different."""
    return _consistent_median([step.ratio for step in _steps(_spine(structures))])


def body_width_ratio(structures: Sequence[MeasuredStructure]) -> float | None:
    """Median ratio of the distances of left and right counterparts to an average adult's; None as above."""
    by_name = {each.place.name: each for each in structures if not each.partial}
    ratios = []
    for right in by_name.values():
        other = mirror_image(right.place)
        left = by_name.get(other.name) if other is not None and right.place.right_mm > 0 else None
        if left is not None and right.place.part != "arms":  # which patients raise
            ratios.append(abs(right.center_mm[0] - left.center_mm[0]) / (2 * right.place.right_mm))
    return _consistent_median(ratios)


def _consistent_median(ratios: Sequence[float]) -> float | None:
    if len(ratios) < FEWEST_RATIOS:
        return None
    lower, middle, upper = quantiles(ratios, n=4, method="inclusive")
    return middle if 0 < upper <= SPREAD * lower else None


def _spine(structures: Sequence[MeasuredStructure]) -> list[MeasuredStructure]:
    """Vertebrae from top to bottom by name."""
    by_name = {each.place.name: each for each in structures}
    return [by_name[name] for name in VERTEBRAE if name in by_name]


def _steps(spine: Sequence[MeasuredStructure]) -> list[_Step]:
    """Neighbors by name; those that the border cuts are left out, because their centers are not where they seem."""
    steps = []
    for upper, lower in zip(spine, spine[1:]):
        if VERTEBRAE.index(lower.place.name) - VERTEBRAE.index(upper.place.name) != 1 or upper.partial or lower.partial:
            continue
        expected = places()[upper.place.name].superior_mm - places()[lower.place.name].superior_mm
        steps.append(_Step(upper, lower, abs(upper.center_mm[2] - lower.center_mm[2]) / expected))
    return steps
