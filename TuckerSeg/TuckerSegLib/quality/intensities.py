"""Whether the values of an image are those of a CT: Hounsfield units, in full range and steps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..quality_report import INFO, WARNING, Finding

SAMPLES = 1 << 20
NO_AIR_HU = -200.0  # any CT with air, lung or table around the body goes far below
AIR_HU = -850.0
SMALLEST_HU_RANGE = 100.0
CLIPPED_BELOW_HU = 2000.0  # scanners end above 3000; who ends below has cut off bone or metal
CLIPPED_SHARE = 0.001  # of the voxels at the very largest value; in CTs as scanned it is a hundred times less
FEW_VALUES = 256
FEW_VALUES_SAMPLES = 10_000
FRACTIONS = 0.01
TAKE_THE_CT = "The model was trained on CT, so the result may be wrong; give the CT in HU."


def check_intensities(volume: np.ndarray) -> Iterator[Finding]:
    """Look at about a million voxels, spread evenly.

    Args:
        volume: (Z, Y, X), taken for a CT.
    """
    sample = _sample(volume)
    low, high = float(sample.min()), float(sample.max())
    numbers = {"lowest_hu": low, "highest_hu": high}
    reason = _not_hounsfield(low, high)
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
    yield from _steps(sample, low, high)


def may_be_hounsfield(volume: np.ndarray) -> bool:
    """Whether values (Z, Y, X) can be Hounsfield units; looks at about a million of them."""
    sample = _sample(volume)
    return _not_hounsfield(float(sample.min()), float(sample.max())) is None


def _sample(volume: np.ndarray) -> np.ndarray:
    step = max(1, int(np.ceil((volume.size / SAMPLES) ** (1 / 3))))
    return volume[::step, ::step, ::step].ravel()


def _not_hounsfield(low: float, high: float) -> str | None:
    if low >= 0 and high <= 255:
        return "they look like 8-bit gray values"
    if high - low < SMALLEST_HU_RANGE:
        return f"they span less than {SMALLEST_HU_RANGE:g}, as after a normalization"
    if low >= 0 and high > 1000:
        return "there is no air; perhaps 1024 was added to them, or this is MR"
    return "there is no air" if low > NO_AIR_HU else None


def _steps(sample: np.ndarray, low: float, high: float) -> Iterator[Finding]:
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
