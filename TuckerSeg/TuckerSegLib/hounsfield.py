"""Tells intensities that may be Hounsfield units from others, by their range."""

from __future__ import annotations

import numpy as np

SAMPLES = 1 << 20
NO_AIR_HU = -200.0  # any CT with air, lung or table around the body goes far below
SMALLEST_HU_RANGE = 100.0


def may_be_hounsfield(volume: np.ndarray) -> bool:
    """Whether the values of a volume (Z, Y, X) can be Hounsfield units, judged by about a million of them."""
    sample = sample_values(volume)
    return not_hounsfield_because(float(sample.min()), float(sample.max())) is None


def sample_values(volume: np.ndarray) -> np.ndarray:
    """About a million values of a volume (Z, Y, X), evenly spread; (N,)."""
    step = max(1, int(np.ceil((volume.size / SAMPLES) ** (1 / 3))))
    return volume[::step, ::step, ::step].ravel()


def not_hounsfield_because(low: float, high: float) -> str | None:
    """Why values from ``low`` to ``high`` cannot be Hounsfield units, as a clause; None where they can be."""
    if low >= 0 and high <= 255:
        return "they look like 8-bit gray values"
    if high - low < SMALLEST_HU_RANGE:
        return f"they span less than {SMALLEST_HU_RANGE:g}, as after a normalization"
    if low >= 0 and high > 1000:
        return "there is no air; perhaps 1024 was added to them, or this is MR"
    return "there is no air" if low > NO_AIR_HU else None
