"""Crops that a repair learns from: of several volumes, half of them changed so that the network stays good on others.

What is changed needs no labels to follow it: the original network is asked about the changed crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..crops import padded, random_crop

CHANGED = 0.5  # share of the crops
ZOOM = (0.7, 1.4)  # per axis, or for all axes alike
CONTRAST = (0.85, 1.15)
BRIGHTNESS = (-0.15, 0.15)  # of normalized values
NOISY = 0.3  # share of the changed crops
NOISE = (0.0, 0.1)


@dataclass(frozen=True, eq=False)
class Examples:
    """Volumes that training crops are drawn from.

    Attributes:
        volumes: Normalized and resampled, (C, Z, Y, X) each.
        shares: How often each is drawn from; they need not sum to 1.
        sizes: (Z, Y, X) of a crop.
    """

    volumes: Sequence[Tensor]
    shares: Sequence[float]
    sizes: Sequence[int]

    def draw(self, generator: torch.Generator) -> Tensor:
        """Draw one crop (1, C, Z, Y, X), changed at random or not; zeros where the volume ends."""
        shares = torch.tensor(self.shares, dtype=torch.float64)
        data = self.volumes[int(torch.multinomial(shares, 1, generator=generator))]
        if _between((0, 1), generator) < CHANGED:
            return self._changed(data, generator)
        return padded(random_crop(data, self.sizes, generator), self.sizes)[None].clone()

    def _changed(self, data: Tensor, generator: torch.Generator) -> Tensor:
        """A crop with random zoom, contrast, brightness and noise."""
        zooms = [_between(ZOOM, generator) for _ in range(3)]
        if _between((0, 1), generator) < 0.5:
            zooms = zooms[:1] * 3
        source_sizes = [max(1, round(size / zoom)) for size, zoom in zip(self.sizes, zooms)]
        crop = random_crop(data, source_sizes, generator)
        zoomed = [max(1, round(length * zoom)) for length, zoom in zip(crop.shape[1:], zooms)]
        sizes = [min(size, length) for size, length in zip(self.sizes, zoomed)]
        crop = torch.nn.functional.interpolate(crop[None], size=sizes, mode="trilinear")[0]
        crop = crop * _between(CONTRAST, generator) + _between(BRIGHTNESS, generator)
        if _between((0, 1), generator) < NOISY:
            crop = crop + _between(NOISE, generator) * torch.randn(crop.shape, generator=generator)
        return padded(crop, self.sizes)[None].contiguous()


def _between(limits: tuple[float, float], generator: torch.Generator) -> float:
    """A random number, equally distributed."""
    low, high = limits
    return low + (high - low) * float(torch.rand((), generator=generator))
