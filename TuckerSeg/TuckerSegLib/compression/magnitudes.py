"""How large the values are that a layer reads: one histogram per channel, from which ranges are chosen.

Bins are eighths of an octave of the magnitude, apart for either sign, so a histogram of scaled values is the histogram
moved by some bins, and those of several patches and volumes add up. No voxel is kept.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

PER_OCTAVE = 8
LOWEST_OCTAVE, HIGHEST_OCTAVE = -10, 10  # smaller values count as the smallest, larger ones as the largest
BINS = PER_OCTAVE * (HIGHEST_OCTAVE - LOWEST_OCTAVE)  # of one sign
_MOST_VOXELS = 65536  # per channel and patch


def histogram_of(values: Tensor) -> Tensor:
    """Share of the values of each channel in each bin, (C, 2 BINS): negative ones, from the smallest magnitude on, then
    positive ones. Float64.

    Args:
        values: (1, C, Z, Y, X); of large ones every n-th voxel counts.
    """
    flat = values[0].flatten(1)
    step = -(-flat.shape[1] // _MOST_VOXELS) | 1  # odd, so that it does not stay in step with the rows
    flat = flat[:, ::step]
    bins = _bins_of_halves(flat) if flat.dtype == torch.bfloat16 else _bins_of(flat.float())
    places = bins + 2 * BINS * torch.arange(len(flat), dtype=torch.int32, device=bins.device)[:, None]
    counts = torch.bincount(places.flatten(), minlength=2 * BINS * len(flat)).reshape(len(flat), 2 * BINS)
    return counts.double().cpu() / flat.shape[1]


def _bins_of(values: Tensor) -> Tensor:
    """Number of the bin of each value, int32."""
    octaves = values.abs().clamp(min=2.0**LOWEST_OCTAVE).log2() - LOWEST_OCTAVE
    return (octaves * PER_OCTAVE).int().clamp(0, BINS - 1) + BINS * (values >= 0)


def _bins_of_halves(values: Tensor) -> Tensor:
    """The same of bfloat16 values (C, N): there are so few different ones that a table has all of them."""
    codes = values.contiguous().view(torch.int16).int() + (1 << 15)
    return _table_of_halves().to(values.device).index_select(0, codes.flatten()).reshape(codes.shape)


@functools.cache
def _table_of_halves() -> Tensor:
    """The bin of each bfloat16 value, in the order of its bits as a whole number with a sign."""
    return _bins_of(torch.arange(-(1 << 15), 1 << 15).to(torch.int16).view(torch.bfloat16).float())


def bin_values() -> Tensor:
    """The value that stands for each bin, (2 BINS,): the middle of its octave's eighth; 0 for the smallest."""
    middles = 2.0 ** ((torch.arange(BINS, dtype=torch.float64) + 0.5) / PER_OCTAVE + LOWEST_OCTAVE)
    middles[0] = 0.0
    return torch.cat([-middles, middles])


def bin_limits() -> Tensor:
    """The largest magnitude of each bin of one sign, (BINS,)."""
    return 2.0 ** ((torch.arange(BINS, dtype=torch.float64) + 1) / PER_OCTAVE + LOWEST_OCTAVE)


def moved(histogram: Tensor, divisors: Tensor) -> Tensor:
    """The histograms of the same values divided by a factor per channel, to an eighth of an octave.

    Args:
        histogram: (C, 2 BINS).
        divisors: Above 0, (C,).
    """
    steps = (divisors.double().log2() * PER_OCTAVE).round().long()
    target = (torch.arange(BINS)[None, :] - steps[:, None]).clamp(0, BINS - 1)
    return torch.zeros_like(histogram).scatter_add_(1, torch.cat([target, target + BINS], dim=1), histogram)


def quantile(histogram: Tensor, share: float) -> Tensor:
    """The magnitude of each channel that all but a share of the values stay below, (C,)."""
    both = histogram[:, :BINS] + histogram[:, BINS:]
    above = both.flip(1).cumsum(1).flip(1)  # share of the values in this bin or above
    last = (above > share).sum(1).clamp(min=1) - 1
    return bin_limits()[last]
