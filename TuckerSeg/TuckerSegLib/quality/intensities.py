"""Checks whether the values of an image are those of a CT: Hounsfield units, in full range and steps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..hounsfield import not_hounsfield_because, sample_values
from ..records.quality_report import INFO, WARNING, Finding

AIR_HU = -850.0
CLIPPED_BELOW_HU = 2000.0  # scanners end above 3000; who ends below has cut off bone or metal
CLIPPED_SHARE = 0.001  # of the voxels at the very largest value; in CTs as scanned it is a hundred times less
FEW_VALUES = 256
FEW_VALUES_SAMPLES = 10_000
FRACTIONS = 0.01
TAKE_THE_CT = "The model was trained on CT, so the result may be wrong; give the CT in HU."


def check_intensities(volume: np.ndarray) -> Iterator[Finding]:
    """Report values that are unusual for a CT, from a sample of about a million voxels.

    Args:
        volume: (Z, Y, X), in HU if it is what it should be.
    """
    sample = sample_values(volume)
    low, high = float(sample.min()), float(sample.max())
    numbers = {"lowest_hu": low, "highest_hu": high}
    reason = not_hounsfield_because(low, high)
    if reason:
        yield Finding(
            "intensities",
            WARNING,
            f"The intensities are probably not Hounsfield units: {reason}. Expected from about -1000 (air) to above "
            f"500 (bone), found {low:g} to {high:g}. {TAKE_THE_CT}",
            numbers,
        )
        return
    if low > AIR_HU:
        yield Finding(
            "intensities",
            INFO,
            f"Expected air near -1000 HU, found nothing below {low:g}. That is fine where the image was cut out of the "
            "body; otherwise its values were shifted or scaled.",
            numbers,
        )
    yield from _check_range_and_steps(sample, low, high)


def _check_range_and_steps(sample: np.ndarray, low: float, high: float) -> Iterator[Finding]:
    clipped = float(np.mean(sample == high))
    if high < CLIPPED_BELOW_HU and clipped > CLIPPED_SHARE:
        yield Finding(
            "window",
            WARNING,
            f"{clipped:.1%} of the voxels have the largest value, {high:g}: the image was cut off there, as by a "
            "display window. Expected values up to 3000 HU. Give the CT as the scanner wrote it.",
            {"highest_hu": high, "share": clipped},
        )
    values = len(np.unique(sample))
    if values <= FEW_VALUES and sample.size >= FEW_VALUES_SAMPLES:
        yield Finding(
            "coarse-steps",
            WARNING,
            f"There are only {values} different values from {low:g} to {high:g}: an image of 8 bits was stretched to "
            "HU. Expected steps of 1 HU. Give the CT as the scanner wrote it.",
            {"values": float(values)},
        )
    if sample.dtype.kind == "f":
        fractions = float(np.mean(sample != np.rint(sample)))
        if fractions > FRACTIONS:
            yield Finding(
                "fractions",
                INFO,
                f"{fractions:.0%} of the values are not whole HU, so the image was resampled or processed before.",
                {"share": fractions},
            )
