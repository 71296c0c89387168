"""An image before a run: is it a CT, is it whole, is its grid plausible."""

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
    """What was found, and what the check of labels goes on with.

    Attributes:
        findings: In no order.
        content: Slices (Z, Y, X) of what was scanned: without blank planes at the ends.
        bones_in_front: See ``body.bones_in_front``; None where it is not known.
    """

    findings: tuple[Finding, ...]
    content: Box
    bones_in_front: float | None


def check_image(image: Image, expects_hounsfield: bool = True) -> ImageCheck:
    """Check the first channel of an image.

    Args:
        expects_hounsfield: Whether it should be a CT; values and bones of others are not looked at.
    """
    volume, findings = image.array[0], list(check_grid(image.geometry))
    content = content_box(volume)
    findings += check_slices(volume, content)
    in_front = None
    if expects_hounsfield:
        values = list(check_intensities(volume))
        findings += values
        if not any(finding.code == "intensities" for finding in values):
            view, spacing_mm = coarse_view(volume, image.geometry)
            in_front = bones_in_front(view, spacing_mm)
            findings += [*check_bones(in_front), *check_truncation(view)]
    return ImageCheck(tuple(findings), content, in_front)
