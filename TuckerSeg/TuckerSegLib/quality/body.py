"""Checks of the body in a CT that need no labels: on which side its bones lie, and whether the image cuts it."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

import numpy as np

from ..image import Geometry, oriented
from ..records.quality_report import INFO, WARNING, Finding
from .orientation_measures import FRONT_BACK

COARSE_MM = 4.0
TISSUE_HU = -300
BONE_HU = (300, 1800)  # denser than contrast medium in the bowel, mostly; less dense than metal
TRUNK_WIDTH_MM = 220.0  # wider than heads and necks, whose bones lie around their middle or before it
FEWEST_MM2 = 300.0  # of bone in a slice
SHARE_ENDS = 0.02
FEWEST_SLICES = 3
IN_FRONT = 0.08  # of the body's depth; in trunks as they should be, bones lie 0.1 to 0.3 behind the middle
CUT_SHARE = 0.15  # of the sides of the image


def coarse_view(volume: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, tuple[float, ...]]:
    """View a volume along the patient's axes in steps of about 4 mm.

    Args:
        volume: (Z, Y, X).
        geometry: Its grid.

    Returns:
        A view whose axes point to superior, anterior and right, and its steps along them in mm.
    """
    turned, grid = oriented(volume, geometry)
    steps = [max(1, round(COARSE_MM / spacing)) for spacing in grid.spacing_mm]
    spacing = tuple(step * spacing for step, spacing in zip(steps, grid.spacing_mm))
    return turned[tuple(slice(None, None, step) for step in steps)], spacing


def bones_in_front(view: np.ndarray, spacing_mm: tuple[float, ...]) -> float | None:
    """Measure how far the bones of the trunk lie in front of its middle.

    The spine and the backs of the ribs are most of what is dense, so this is negative in every patient, in any
    position, as long as the header is right.

    Args:
        view, spacing_mm: From :func:`coarse_view`, in HU.

    Returns:
        Median over the trunk's slices, as a share of its depth; negative behind the middle. None where the image shows
        too little of a trunk.
    """
    _, depth_mm, width_mm = spacing_mm
    offsets = []
    for plane in view:
        body = plane > TISSUE_HU
        left, right = _extent(body.sum(axis=0))
        back, front = _extent(body.sum(axis=1))
        bone = (plane > BONE_HU[0]) & (plane < BONE_HU[1])
        if (right - left) * width_mm < TRUNK_WIDTH_MM or bone.sum() * depth_mm * width_mm < FEWEST_MM2:
            continue
        offsets.append((_center(bone.sum(axis=1)) - _center(body.sum(axis=1))) / max(front - back, 1))
    return float(median(offsets)) if len(offsets) >= FEWEST_SLICES else None


def check_bones(in_front: float | None) -> Iterator[Finding]:
    """Report front and back that are exchanged in the header, judged by the bones.

    Args:
        in_front: From :func:`bones_in_front`.
    """
    if in_front is not None and in_front > IN_FRONT:
        yield Finding(
            FRONT_BACK,
            WARNING,
            "Front and back are probably exchanged in the header: spine and ribs are expected behind the middle of the "
            f"trunk, and were found {in_front:.0%} of its depth in front of it. Check the orientation that the file "
            "states, or convert the series again.",
            {"bones_in_front": in_front},
        )


def check_truncation(view: np.ndarray) -> Iterator[Finding]:
    """Report a body that is wider than the image.

    Args:
        view: From :func:`coarse_view`, in HU.
    """
    sides = [view[:, 0], view[:, -1], view[:, :, 0], view[:, :, -1]]
    share = sum(int((side > TISSUE_HU).sum()) for side in sides) / sum(side.size for side in sides)
    if share > CUT_SHARE:
        yield Finding(
            "truncated-body",
            INFO,
            f"The body reaches {share:.0%} of the sides of the image: it is wider than the field of view. Structures "
            "at the border are cut.",
            {"share": share},
        )


def _extent(profile: np.ndarray) -> tuple[int, int]:
    """First and last index of a profile without ``SHARE_ENDS`` of its sum at either end, such as a table or a tube."""
    shares = np.cumsum(profile) / max(int(profile.sum()), 1)
    return int(np.searchsorted(shares, SHARE_ENDS)), int(np.searchsorted(shares, 1 - SHARE_ENDS))


def _center(profile: np.ndarray) -> float:
    return float(profile @ np.arange(len(profile)) / max(int(profile.sum()), 1))
