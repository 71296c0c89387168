"""Checks whether the voxel grid of an image can be a patient's scan: spacing, thickness of slices, size."""

from __future__ import annotations

from collections.abc import Iterator

from ..image import Geometry
from ..records.quality_report import INFO, WARNING, Finding

THICK_MM, VERY_THICK_MM = 5.01, 7.5
COARSE_MM = 4.5  # along all axes: the ribs are gone
LARGEST_MM = (2300.0, 1000.0)  # along the body, across it
SMALLEST_FIELD_MM = 100.0
ELONGATED = 8.0  # a CT of 0.6 mm pixels and 5 mm slices just reaches it
UNEVEN = 1.02  # within slices, pixels are square
DEFAULT_SIZE = 512


def check_grid(geometry: Geometry) -> Iterator[Finding]:
    """Report a spacing or an extent that is unusual for a patient's scan."""
    spacing = geometry.spacing_mm
    sizes = [size * step for size, step in zip(geometry.shape, spacing)]
    text = " x ".join(f"{step:.3g}" for step in spacing[::-1])
    thickest = max(range(3), key=lambda axis: spacing[axis])
    if spacing[thickest] > THICK_MM:
        very = spacing[thickest] > VERY_THICK_MM
        yield Finding(
            "thick-slices",
            WARNING if very else INFO,
            f"Expected slices up to 5 mm apart, found {spacing[thickest]:.3g} mm. Small structures may be "
            "missed or ragged. Give a thinner reconstruction where there is one.",
            {"thickness_mm": spacing[thickest]},
        )
    elif min(spacing) > COARSE_MM:
        yield Finding(
            "thick-slices",
            INFO,
            f"The voxels are large, {text} mm: small structures cannot be seen.",
            {"thickness_mm": min(spacing)},
        )
    if spacing[thickest] > ELONGATED * min(spacing):
        yield Finding(
            "anisotropy",
            INFO,
            f"The voxels are {spacing[thickest] / min(spacing):.0f} times as long as they are wide, {text} mm; the "
            "networks know nearly cubic ones. Between slices, borders of structures are guessed.",
            {"ratio": spacing[thickest] / min(spacing)},
        )
    within = sorted(spacing)[:2] if spacing[thickest] > UNEVEN * sorted(spacing)[1] else ()
    if within and within[1] > UNEVEN * within[0]:
        yield Finding(
            "uneven-pixels",
            INFO,
            f"The pixels of a slice are not square, {text} mm (x y z). A CT is reconstructed with square ones: was the "
            "image resampled, or is the spacing in its header wrong?",
            {"ratio": within[1] / within[0]},
        )
    yield from _check_size(geometry, sizes, text)


def check_field(geometry: Geometry) -> Iterator[Finding]:
    """Report a field of view that is too small to tell structures apart reliably."""
    sizes = [size * step for size, step in zip(geometry.shape, geometry.spacing_mm)]
    if min(sizes) < SMALLEST_FIELD_MM:
        yield Finding(
            "field-of-view",
            WARNING,
            f"The image is {' x '.join(f'{size:.0f}' for size in sizes[::-1])} mm (x y z); at least "
            f"{SMALLEST_FIELD_MM:g} mm along each axis are expected. In so small a part of the body, structures may be "
            "taken for others. Give the whole scan.",
            {"smallest_mm": min(sizes)},
        )


def _check_size(geometry: Geometry, sizes: list[float], text: str) -> Iterator[Finding]:
    axis_of = {code: axis for axis, code in enumerate(reversed(geometry.axis_codes))}
    along = axis_of.get("S", axis_of.get("I"))
    for axis, size in enumerate(sizes):
        limit = LARGEST_MM[0] if axis == along else LARGEST_MM[1]
        if size > limit:
            yield Finding(
                "spacing",
                WARNING,
                f"The image would be {size:.0f} mm large along one axis, more than a scanner covers ({limit:g} mm): "
                f"the spacing in its header, {text} mm, is probably wrong. Correct it, or convert the series again.",
                {"size_mm": size},
            )
            return
    if all(abs(step - 1) < 1e-6 for step in geometry.spacing_mm) and DEFAULT_SIZE in geometry.shape:
        yield Finding(
            "spacing",
            INFO,
            f"The spacing is exactly 1 x 1 x 1 mm with {DEFAULT_SIZE} pixels: programs that do not know a spacing "
            "write that. Check that it is the scan's own.",
        )
