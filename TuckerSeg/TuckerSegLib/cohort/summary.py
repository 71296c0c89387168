"""Numbers of a cohort: how the volume of each structure is spread, and which cases should be looked at first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..catalog import structures
from .case_record import DONE, CaseRecord

FEWEST_FOR_OUTLIERS = 6  # cases that have a structure whole; of fewer, none is far from the others
# Iglewicz and Hoaglin 1993, "How to detect and handle outliers": modified z-score above 3.5
MODIFIED_Z, MODIFIED_Z_SCALE = 3.5, 0.6745


@dataclass(frozen=True)
class Volume:
    """Volume of a structure in a case.

    Attributes:
        case: Its name.
        volume_ml: What was found.
        cut: Whether the border of the image cuts the structure.
        outlier: Whether it is far from the volumes of the other cases.
    """

    case: str
    volume_ml: float
    cut: bool
    outlier: bool


@dataclass(frozen=True)
class Spread:
    """How the volume of a structure is spread over the cases that have it whole; where none has, over all.

    Attributes:
        name, title, group, color: Of the structure.
        least_ml, lower_ml, median_ml, upper_ml, most_ml: Quartiles.
        volumes: Of all cases that have it, in order of names.
    """

    name: str
    title: str
    group: str
    color: tuple[float, float, float]
    least_ml: float
    lower_ml: float
    median_ml: float
    upper_ml: float
    most_ml: float
    volumes: tuple[Volume, ...]


@dataclass(frozen=True)
class Notable:
    """A case that should be looked at.

    Attributes:
        case: Its name.
        reasons: Why, in words: it failed, what the check of image and labels warns of, volumes far from the others'.
    """

    case: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """A cohort in numbers: records in order of names, spreads in order of the catalog's groups, notable cases."""

    records: tuple[CaseRecord, ...]
    spreads: tuple[Spread, ...]
    notable: tuple[Notable, ...]


def summarize(records: Sequence[CaseRecord]) -> Summary:
    """The numbers of a cohort."""
    volumes: dict[str, list[tuple[str, float, bool]]] = {}
    colors: dict[str, tuple[float, float, float]] = {}
    for record in records:
        if record.state != DONE or record.statistics is None:
            continue
        cut = record.statistics.quality.partial if record.statistics.quality else ()
        for each in record.statistics.structures:
            volumes.setdefault(each.name, []).append((record.name, float(each.volume_ml), each.name in cut))
            colors.setdefault(each.name, structures.color_of(each.value, each.name))
    in_groups = structures.groups(volumes)
    spreads = tuple(
        _spread(name, group, colors[name], volumes[name]) for group, names in in_groups.items() for name in names
    )
    return Summary(tuple(records), spreads, tuple(_notable(records, spreads)))


def _spread(
    name: str, group: str, color: tuple[float, float, float], entries: Sequence[tuple[str, float, bool]]
) -> Spread:
    whole = np.array([volume for _, volume, cut in entries if not cut])
    judged = whole if whole.size else np.array([volume for _, volume, _ in entries])
    quartiles = [float(value) for value in np.percentile(judged, (0, 25, 50, 75, 100))]
    volumes = tuple(
        Volume(case, volume, cut, not cut and _is_far(volume, whole)) for case, volume, cut in sorted(entries)
    )
    return Spread(name, structures.title_of(name), group, color, *quartiles, volumes)


def _is_far(volume: float, whole: np.ndarray) -> bool:
    if whole.size < FEWEST_FOR_OUTLIERS:
        return False
    median = float(np.median(whole))
    deviation = float(np.median(np.abs(whole - median)))
    return bool(deviation > 0 and MODIFIED_Z_SCALE * abs(volume - median) / deviation > MODIFIED_Z)


def _notable(records: Sequence[CaseRecord], spreads: Sequence[Spread]) -> list[Notable]:
    """Failures first, then those with the most reasons."""
    far: dict[str, list[str]] = {}
    for spread in spreads:
        for volume in spread.volumes:
            if volume.outlier:
                words = f"{spread.title}: {volume.volume_ml:.4g} ml; half of the cases have {spread.lower_ml:.4g} to "
                far.setdefault(volume.case, []).append(f"{words}{spread.upper_ml:.4g} ml.")
    notable = []
    for record in records:
        reasons = [record.message] if record.state != DONE else []
        if record.statistics is not None and record.statistics.quality is not None:
            reasons += record.statistics.quality.warnings
        reasons += far.get(record.name, [])
        if reasons:
            notable.append((record.state == DONE, -len(reasons), record.name, Notable(record.name, tuple(reasons))))
    return [each for *_, each in sorted(notable, key=lambda entry: entry[:3])]
