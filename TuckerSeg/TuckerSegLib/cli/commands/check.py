"""``tuckerseg check``: findings on an image before it is segmented, on labels of any origin, or on both.

No network is run, so torch is not imported.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ...errors import SpecError
from ...evaluation.common_grid import on_grid
from ...evaluation.label_files import LabelMap, read_label_map
from ...evaluation.label_names import named_labels
from ...image import Geometry, Image, label_type, oriented, read_image, segment_volumes_ml
from ...quality import ImageCheck, check_field, check_image, check_labels
from ...quality.slices import content_box
from ...records.quality_report import WARNING, Finding, QualityReport, as_text
from ...records.serialization import to_json
from ..output import say, show_json


def check(options: argparse.Namespace) -> None:
    """``tuckerseg check IN --labels SEG``: prints the findings as text or JSON.

    Raises:
        ImageError: A file cannot be read.
        SpecError: Nothing to check, or ``--labels-names`` names no labels.
    """
    images = (options.images, *options.channel) if options.images else ()
    if not images and options.labels is None:
        raise SpecError("Give an image, --labels with a label file, or both.")
    names = named_labels(options.labels_names) if options.labels_names else None
    image = None
    if images:
        image = read_image(images if len(images) > 1 else images[0], options.timepoint, series=options.series)
    findings = findings_on(image, read_label_map(Path(options.labels), names) if options.labels else None)
    if options.json:
        show_json(to_json(findings))
    else:
        say(*as_text(findings).split("\n"))


def findings_on(image: Image | None, labels: LabelMap | None) -> QualityReport:
    """Findings on an image, on labels, or on both together."""
    image_check = check_image(image) if image is not None else None
    extra = _notes("image-file", image.notes if image is not None else ())
    extra += list(check_field(image.geometry)) if image is not None else []
    if labels is None:
        return QualityReport().joined_by([*image_check.findings, *extra])
    extra += _notes("label-file", labels.notes)
    if image is not None:
        turned, geometry = oriented(image.array[0], image.geometry)
        labels = on_grid(labels, geometry)
        if geometry.same_grid(labels.geometry):
            image_check = replace(image_check, content=content_box(turned))
        else:
            extra.append(_other_grid(geometry, labels.geometry))
            image_check = replace(image_check, content=tuple(slice(0, size) for size in labels.geometry.shape))
    return _check_labels(labels, image_check).joined_by(extra)


def _check_labels(labels: LabelMap, image_check: ImageCheck | None) -> QualityReport:
    array = labels.array.astype(label_type(int(labels.array.max())), copy=False)
    volumes = segment_volumes_ml(array, labels.geometry, labels.names)
    return check_labels(array, labels.geometry, labels.names, volumes, image_check)


def _notes(code: str, notes: Iterable[str]) -> list[Finding]:
    words = " ".join(notes)
    return [Finding(code, WARNING, words)] if words else []


def _other_grid(image: Geometry, labels: Geometry) -> Finding:
    return Finding(
        "grid",
        WARNING,
        f"The labels are not on the grid of the image: found {_grid(labels)} and {_grid(image)}. Their positions "
        "cannot be compared voxel by voxel; check that they belong together.",
    )


def _grid(geometry: Geometry) -> str:
    sizes = "x".join(str(size) for size in geometry.shape[::-1])
    spacing = " x ".join(f"{value:.4g}" for value in geometry.spacing_mm[::-1])
    return f"{sizes} voxels of {spacing} mm ({''.join(geometry.axis_codes)})"
