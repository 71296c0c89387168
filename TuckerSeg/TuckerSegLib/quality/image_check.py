"""Checks an image before a run: whether it is a CT, whether slices are missing, whether its grid is plausible."""

from __future__ import annotations

from dataclasses import dataclass

from ..image import Box, Image
from ..records.quality_report import Finding
from .body import bones_in_front, check_bones, check_truncation, coarse_view
from .grid import check_grid
from .intensities import check_intensities
from .slices import check_slices, content_box


@dataclass(frozen=True)
class ImageCheck:
    """Result of :func:`check_image`, which :func:`check_labels` can use.

    Attributes:
        findings: What is unusual, in no order.
        content: The part of the volume without blank planes at its six ends, as slices of (Z, Y, X).
        bones_in_front: From ``body.bones_in_front``; None where it could not be measured.
    """

    findings: tuple[Finding, ...]
    content: Box
    bones_in_front: float | None


def check_image(image: Image, expects_hounsfield: bool = True) -> ImageCheck:
    """Check the grid of an image and the voxels of its first channel.

    Args:
        image: As read.
        expects_hounsfield: Whether the image should be a CT; intensities and bones of other images are not checked.

    Returns:
        Findings, and the measures that the check of labels uses.
    """
    volume, findings = image.array[0], list(check_grid(image.geometry))
    content = content_box(volume)
    findings += check_slices(volume, content)
    in_front = None
    if expects_hounsfield:
        of_intensities = list(check_intensities(volume))
        findings += of_intensities
        if not any(finding.code == "intensities" for finding in of_intensities):
            view, spacing_mm = coarse_view(volume, image.geometry)
            in_front = bones_in_front(view, spacing_mm)
            findings += [*check_bones(in_front), *check_truncation(view)]
    return ImageCheck(tuple(findings), content, in_front)
