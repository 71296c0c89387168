"""The labels after a run: which body parts, whole or cut, of plausible size, and where the header says they are."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from ..image import Geometry
from ..records.quality_report import INFO, NOT_CHECKED, WARNING, Finding, QualityReport
from .body_parts import find_body_parts
from .completeness import check_border, check_volumes
from .directions import FRONT_BACK, ORIENTATION, check_directions
from .image_check import ImageCheck
from .measuring import Measured, known_places, measure_structures
from .spine import check_scale, check_vertebrae


def check_labels(
    labels: np.ndarray,
    geometry: Geometry,
    names: Mapping[int, str],
    volumes_ml: Mapping[int, float],
    image: ImageCheck | None = None,
    asked: Collection[str] | None = None,
) -> QualityReport:
    """Check the structures that are known; see ``layout``.

    Args:
        labels: (Z, Y, X), whole numbers.
        geometry: Its grid.
        names: By value, of everything that could have been found.
        volumes_ml: By value.
        image: What the image's own check found; its findings join the report.
        asked: Names of the structures that somebody wants; the others still tell how the patient lies. None: all.
    """
    known = known_places(names)
    found = measure_structures(labels, geometry, names, volumes_ml, image.content if image else None)
    wanted = [each for each in found if asked is None or each.name in asked]
    findings = list(_findings(found, wanted, image)) if found else [_nothing_known(bool(known))]
    parts = find_body_parts(found, known.values())
    report = QualityReport((), parts, tuple(each.name for each in wanted if each.partial)).joined_by(findings)
    return report.joined_by(_not_said_yet(image.findings, findings)) if image else report


def _not_said_yet(before: Sequence[Finding], after: Sequence[Finding]) -> list[Finding]:
    """Findings of the image, without what the labels say too, and better."""
    said = any(f.code == ORIENTATION and f.severity == WARNING and f.numbers.get(FRONT_BACK, 1) < 0 for f in after)
    return [finding for finding in before if not (said and finding.code == FRONT_BACK)]


def _findings(found: Sequence[Measured], wanted: Sequence[Measured], image: ImageCheck | None) -> Iterator[Finding]:
    yield from check_directions(found, image.bones_in_front if image else None)
    yield from check_vertebrae(found)
    yield from check_scale(found)
    yield from check_volumes(wanted)
    yield from check_border(wanted)


def _nothing_known(known: bool) -> Finding:
    reason = "no known structures were found" if known else "the labels have no known structures"
    return Finding(NOT_CHECKED, INFO, f"Body parts, orientation and sizes: not checked, because {reason}.")
