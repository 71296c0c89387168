"""What a layer costs in the unit of a budget: seconds, multiply-accumulates, parameters or bytes of weights."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ...errors import SpecError
from ...records.layer_times import LayerTimes
from ..layer_work import (
    WHOLE,
    concatenation_work,
    convolution_work,
    gathering_work,
    norm_work,
    whole_work,
)

Number = float | np.ndarray  # one number of channels, or an array of them: prices are then arrays, too


class Pricing(Protocol):
    """Prices of layers for one patch. Channels may be arrays, which are broadcast.

    Attributes:
        spares_heads: Whether a head that makes more logits than it reads features is not run with each patch, but once
            on the sum of all patches, and costs nothing here.
    """

    spares_heads: bool

    def convolution(
        self,
        kind: str,
        in_channels: Number,
        out_channels: Number,
        taps: int,
        voxels: tuple[int, int],
        eight_bits: bool = False,
    ) -> Number:
        """Of a convolution without its bias; kinds as in ``layer_work``, voxels of input and output."""

    def has_eight_bits(self, kind: str) -> bool:
        """Whether it is known what whole numbers cost in a layer of a kind."""

    def bias(self, channels: Number) -> Number:
        """Of a convolution's bias."""

    def norm(self, channels: Number, voxels: int, learned: bool) -> Number:
        """Of a normalization, with what it has learned per channel or without, and the activation behind it."""

    def concatenation(self, channels: Number, voxels: int) -> Number:
        """Of putting channels side by side."""

    def gathering(self, channels: Number, voxels: int) -> Number:
        """Of adding a patch's outcome to that of others."""


class TimePricing:
    """Seconds on one device.

    Args:
        times: Of this device.
    """

    spares_heads = True

    def __init__(self, times: LayerTimes):
        self._times = times

    def convolution(self, kind, in_channels, out_channels, taps, voxels, eight_bits=False):
        """See :class:`Pricing`."""
        work = convolution_work(kind, in_channels, out_channels, taps, *voxels)
        if eight_bits:
            work = whole_work(work)
        return self._times.of(work)

    def has_eight_bits(self, kind):
        """See :class:`Pricing`."""
        return f"{WHOLE}{kind}.gmacs" in self._times.seconds

    def bias(self, channels):
        """Added while the convolution writes."""
        return 0.0 * channels

    def norm(self, channels, voxels, learned):
        """See :class:`Pricing`."""
        return self._times.of(norm_work(channels, voxels))

    def concatenation(self, channels, voxels):
        """See :class:`Pricing`."""
        return self._times.of(concatenation_work(channels, voxels))

    def gathering(self, channels, voxels):
        """See :class:`Pricing`."""
        return self._times.of(gathering_work(channels, voxels))


class CountPricing:
    """Multiply-accumulates, parameters, or bytes of the weights: as ``cost.count`` counts them.

    Args:
        budget: ``macs``, ``parameters`` or ``bytes``.
    """

    spares_heads = False

    def __init__(self, budget: str):
        self._macs = budget == "macs"
        self._bytes = 4 if budget == "bytes" else 1

    def convolution(self, kind, in_channels, out_channels, taps, voxels, eight_bits=False):
        """See :class:`Pricing`."""
        weights = in_channels * out_channels * taps
        if self._macs:
            return weights * (voxels[0] if kind == "transposed" else voxels[1])
        return weights * (1 if eight_bits else self._bytes)

    def has_eight_bits(self, kind):
        """See :class:`Pricing`."""
        return True

    def bias(self, channels):
        """See :class:`Pricing`."""
        return 0 * channels if self._macs else self._bytes * channels

    def norm(self, channels, voxels, learned):
        """See :class:`Pricing`."""
        return 0 * channels if self._macs or not learned else 2 * self._bytes * channels

    def concatenation(self, channels, voxels):
        """Moves values, and has none."""
        return 0 * channels

    def gathering(self, channels, voxels):
        """Has no weights, and multiplies none of them."""
        return 0 * channels


def pricing_of(budget: str, times: LayerTimes | None = None) -> Pricing:
    """The prices of a budget.

    Args:
        budget: ``time``, ``macs``, ``parameters`` or ``bytes``.
        times: Of the device; for ``time``.

    Raises:
        SpecError: Time is to be spared, and nothing is known of it.
    """
    if budget != "time":
        return CountPricing(budget)
    if times is None:
        raise SpecError("a budget of time needs the times of layers on the device that will run the network")
    return TimePricing(times)
