"""Units of length that a header states, and positions in them as positions in millimeters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..checks import SPACING_LIMITS_MM
from .header_fields import shown

MILLIMETERS = {
    **dict.fromkeys(("", "?", "unknown", "none", "mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1.0),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "centimetres"), 10.0),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1000.0),
    **dict.fromkeys(("um", "µm", "micron", "microns", "micrometer", "micrometers", "micrometre"), 0.001),
    **dict.fromkeys(("in", "inch", "inches"), 25.4),
}


def in_millimeters(affine: np.ndarray, units: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """An affine in the units that a header states as one in mm.

    Units that are not known, or that make no patient's scan of the spacing, are not believed.

    Args:
        affine: (4, 4), from voxel index to positions.
        units: Of the three axes of space; empty where the header states none.

    Returns:
        The affine in mm, and a note where the header states something else than mm.
    """
    factors = [MILLIMETERS.get(unit.strip().lower().replace("\u03bc", "\u00b5")) for unit in units]
    if set(factors) == {1.0}:
        return affine, ()
    stated = ", ".join(dict.fromkeys(map(shown, units)))
    if None not in factors:
        scaled = np.diag([*factors, 1.0]) @ affine
        lengths = np.linalg.norm(scaled[:3, :3], axis=0)
        if SPACING_LIMITS_MM[0] <= lengths.min() and lengths.max() <= SPACING_LIMITS_MM[1]:
            return scaled, (f"The file states its spacing in {stated}; it was converted to mm.",)
    return affine, (f"The file states its spacing in {stated}; that cannot be, and the numbers were taken as mm.",)
