"""Ranges of 256 steps for what convolutions read, chosen so that rounding and cutting do least harm together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..magnitudes import BINS, bin_limits, bin_values, moved
from .layers import HIGHEST, LOWEST

STEPS = HIGHEST - LOWEST
_CANDIDATES = 40  # ends of a range that are tried, an eighth of an octave apart


@dataclass(frozen=True)
class Range:
    """Steps of a tensor's values.

    Attributes:
        scale: Width of a step.
        zero_point: The step that stands for zero, 0 to 255.
    """

    scale: float
    zero_point: int

    @classmethod
    def between(cls, low: float, high: float) -> Range:
        """The steps from low (at most 0) to high (at least 0); zero is always one of them."""
        scale = (high - low) / STEPS
        if not scale > 0:
            return cls(1.0, 0)
        return cls(scale, min(HIGHEST, max(LOWEST, round(-low / scale))))


def best_range(histogram: Tensor, divisors: Tensor, weights: Tensor) -> Range:
    """The range that makes the weighted squared error of rounded values smallest.

    Args:
        histogram: Of the values of each channel, (C, 2 BINS).
        divisors: What each channel is divided by before it is rounded, (C,).
        weights: How much a squared error of each channel, so divided, matters, (C,).
    """
    seen = moved(histogram, divisors)
    weighted = (seen * weights[:, None].double()).sum(0)
    if not weighted.sum() > 0:
        weighted = seen.sum(0)
    values, limits = bin_values(), bin_limits()
    ends = [_ends(seen.sum(0)[:BINS], limits), _ends(seen.sum(0)[BINS:], limits)]
    cut = [_cut(weighted[:BINS], -values[:BINS], ends[0]), _cut(weighted[BINS:], values[BINS:], ends[1])]
    widths = ends[0][:, None] + ends[1][None, :]
    noise = (widths / STEPS).square() / 12
    # Values far below a step are rounded to zero, which costs no more than their square
    rounded = torch.minimum(values.square()[:, None, None], noise) * weighted[:, None, None]
    total = rounded.sum(0) + cut[0][:, None] + cut[1][None, :]
    low, high = divmod(int(total.argmin()), total.shape[1])
    return Range.between(-float(ends[0][low]), float(ends[1][high]))


def rounding_noise(histogram: Tensor, divisors: Tensor, chosen: Range) -> Tensor:
    """Mean squared error of each channel's values, divided and then rounded and cut, (C,).

    Args:
        histogram: Of the values of each channel, (C, 2 BINS).
        divisors: (C,).
        chosen: The steps.
    """
    values = bin_values()[None, :] / divisors[:, None].double()
    low, high = (LOWEST - chosen.zero_point) * chosen.scale, (HIGHEST - chosen.zero_point) * chosen.scale
    beyond = (values - high).clamp(min=0) + (low - values).clamp(min=0)
    noise = values.square().clamp(max=chosen.scale**2 / 12) * (beyond == 0) + beyond.square()
    return (noise * histogram).sum(1)


def _ends(counts: Tensor, limits: Tensor) -> Tensor:
    """Candidates for one end of a range: from the largest magnitude that was seen downwards; 0 where there was none."""
    seen = counts.nonzero()
    if not len(seen) or int(seen[-1]) == 0:
        return torch.zeros(1, dtype=torch.float64)
    return limits[max(0, int(seen[-1]) - _CANDIDATES + 1) : int(seen[-1]) + 1].flip(0)


def _cut(weighted: Tensor, magnitudes: Tensor, ends: Tensor) -> Tensor:
    """Squared error of the values beyond each end, (ends,)."""
    beyond = (magnitudes[:, None] - ends[None, :]).clamp(min=0)
    return (beyond.square() * weighted[:, None]).sum(0)
