"""Reports header directions that contradict the layout of the structures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..catalog.structures import title_of
from ..records.quality_report import INFO, WARNING, Finding
from .body import check_bones
from .completeness import listed
from .measuring import MeasuredStructure
from .orientation_measures import (
    AXES,
    FITS,
    FRONT_BACK,
    HEAD_FEET,
    LEFT_RIGHT,
    Agreement,
    agreement_along,
    agreement_of_sides,
)

CAUSES = {
    (LEFT_RIGHT,): "the image is mirrored, or the patient's organs are (situs inversus, 1 person in 10 000)",
    (FRONT_BACK,): "the image is mirrored",
    (HEAD_FEET,): "the slices are in reverse order",
    (LEFT_RIGHT, FRONT_BACK): "the patient lay face down instead of face up, or LPS coordinates were read as RAS",
    (LEFT_RIGHT, HEAD_FEET): "the patient lay feet first instead of head first",
    (FRONT_BACK, HEAD_FEET): "the image is turned by 180 degrees",
    AXES: "the image is mirrored in every direction",
}
ORIENTATION = "orientation"  # code of the finding
PAIRS = dict(zip(AXES, ("left and right", "front and back", "head and feet")))
CHECK = "Check the orientation that the file states, or convert the series again"
SHOWN = 3


def check_directions(structures: Sequence[MeasuredStructure], bones_in_front: float | None = None) -> Iterator[Finding]:
    """Compare the header's directions with the layout of the structures.

    A direction is reported as exchanged only where the evidence is clear along every axis, and where one axis fits or
    all are clearly reversed; otherwise the labels are the first to be doubted.

    Args:
        structures: The structures of the segmentation, measured.
        bones_in_front: From ``body.bones_in_front``; it does not depend on the labels, so it decides where they do not.
    """
    along = {name: agreement_along(axis, structures) for axis, name in enumerate(AXES)}
    sides = agreement_of_sides(structures)
    flipped = tuple(name for name, agreement in along.items() if agreement.flipped)
    doubtful = tuple(name for name, agreement in along.items() if agreement.doubtful)
    if flipped and not any(agreement.fits for agreement in along.values()):  # by chance, where labels lie anywhere
        doubtful += tuple(name for name in flipped if along[name].score > -FITS)
    if doubtful:
        yield from check_bones(bones_in_front)
        yield _doubt(along, tuple(dict.fromkeys(doubtful + flipped)))
    elif flipped:
        yield _exchange(along, flipped)
    else:
        yield _no_objection(along)
    if sides.flipped and not doubtful and LEFT_RIGHT not in flipped:
        yield Finding(
            "left-right-names",
            WARNING,
            f"What is named left lies on the right of its counterpart in {len(sides.against)} of {sides.voters} pairs "
            f"({_titles(sides.against)}). Left and right are exchanged in the header, or in the names of the labels; "
            "find out which before using them.",
            {"score": round(sides.score, 3)},
        )


def _exchange(along: Mapping[str, Agreement], flipped: tuple[str, ...]) -> Finding:
    evidence = "; ".join(
        f"{PAIRS[name]} are exchanged, with {(1 - along[name].score) / 2:.0%} of the votes of {along[name].voters} "
        f"structures ({_titles(along[name].against)})"
        for name in flipped
    )
    sides = ". Names with left and right may be exchanged too" if LEFT_RIGHT in flipped else ""
    return Finding(
        ORIENTATION,
        WARNING,
        f"The header's directions are probably wrong: {evidence}. Perhaps {CAUSES[flipped]}. {CHECK}{sides}.",
        _scores(along),
    )


def _doubt(along: Mapping[str, Agreement], odd: Sequence[str]) -> Finding:
    against = dict.fromkeys(name for axis in odd for name in along[axis].against)
    scores = ", ".join(f"{name} {score:.2f}" for name, score in _scores(along).items())
    out_of_place = f"; out of place: {_titles(list(against), 5)}" if against else ""
    return Finding(
        "layout",
        WARNING,
        f"The structures lie neither as in a human body nor as in a mirrored one (1 is as expected, -1 mirrored: "
        f"{scores}){out_of_place}. Either the labels are wrong, as where a model does not "
        "know such a field of view, or the header's directions are. Look at the result before using it.",
        _scores(along),
    )


def _no_objection(along: Mapping[str, Agreement]) -> Finding:
    judged = ", ".join(f"{name} {score:.2f}" for name, score in _scores(along).items())
    unknown = ", ".join(name for name, each in along.items() if each.score is None)
    words = [f"The structures lie as the header says (1 is as expected: {judged})."] if judged else []
    words += [f"Not judged, for want of structures that tell: {unknown}."] if unknown else []
    return Finding(ORIENTATION, INFO, " ".join(words), _scores(along))


def _scores(along: Mapping[str, Agreement]) -> dict[str, float]:
    return {name: round(each.score, 3) for name, each in along.items() if each.score is not None}


def _titles(names: Sequence[str], most: int = SHOWN) -> str:
    return listed([title_of(name) for name in names], most)
