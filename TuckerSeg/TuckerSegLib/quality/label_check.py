"""Checks a segmentation: its body parts, structures that are cut, their sizes, and whether the header fits them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from ..image import Geometry
from ..records.quality_report import INFO, NOT_CHECKED, WARNING, Finding, QualityReport
from .body_parts import find_body_parts
from .completeness import check_border, check_volumes
from .image_check import ImageCheck
from .measuring import MeasuredStructure, known_places, measure_structures
from .orientation_findings import FRONT_BACK, ORIENTATION, check_directions
from .spine import check_scale, check_vertebrae


def check_labels(
    labels: np.ndarray,
    geometry: Geometry,
    names: Mapping[int, str],
    volumes_ml: Mapping[int, float],
    image: ImageCheck | None = None,
    reported: Collection[str] | None = None,
) -> QualityReport:
    """Check the structures whose usual place in the body is known (see ``quality.body_layout``).

    Args:
        labels: (Z, Y, X), whole numbers.
        geometry: Its grid.
        names: Label value to name, of all structures that the model can find.
        volumes_ml: Label value to volume in ml.
        image: Result of the image's own check; its findings join the report.
        reported: Names of the structures whose size and completeness are reported; the others are used only to judge
            how the patient lies. None: all.

    Returns:
        Findings on directions, spine, scale, volumes and border; body parts; structures that the border cuts.
    """
    places = known_places(names)
    structures = measure_structures(labels, geometry, names, volumes_ml, image.content if image else None)
    chosen = [each for each in structures if reported is None or each.name in reported]
    findings = list(_findings(structures, chosen, image)) if structures else [_nothing_known(bool(places))]
    parts = find_body_parts(structures, places.values())
    report = QualityReport((), parts, tuple(each.name for each in chosen if each.partial)).joined_by(findings)
    return report.joined_by(_without_repeated(image.findings, findings)) if image else report


def _without_repeated(of_image: Sequence[Finding], of_labels: Sequence[Finding]) -> list[Finding]:
    """Findings of the image without an exchange of front and back that the labels show more surely."""
    shown = any(f.code == ORIENTATION and f.severity == WARNING and f.numbers.get(FRONT_BACK, 1) < 0 for f in of_labels)
    return [finding for finding in of_image if not (shown and finding.code == FRONT_BACK)]


def _findings(
    structures: Sequence[MeasuredStructure], chosen: Sequence[MeasuredStructure], image: ImageCheck | None
) -> Iterator[Finding]:
    yield from check_directions(structures, image.bones_in_front if image else None)
    yield from check_vertebrae(structures)
    yield from check_scale(structures)
    yield from check_volumes(chosen)
    yield from check_border(chosen)


def _nothing_known(has_places: bool) -> Finding:
    reason = "no known structures were found" if has_places else "the labels have no known structures"
    return Finding(NOT_CHECKED, INFO, f"Body parts, orientation and sizes: not checked, because {reason}.")
