"""Crops of volumes as a network sees them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def random_crop(data: Tensor, sizes: Sequence[int], generator: torch.Generator) -> Tensor:
    """A crop of (C, Z, Y, X); smaller than asked for where the data are."""
    box = [slice(None)]
    for size, wanted in zip(data.shape[1:], sizes, strict=True):
        start = int(torch.randint(0, max(1, size - wanted + 1), (1,), generator=generator))
        box.append(slice(start, start + wanted))
    return data[tuple(box)]


def padded(crop: Tensor, sizes: Sequence[int]) -> Tensor:
    """Zeros around a crop that is too small, as before inference."""
    missing = [wanted - size for wanted, size in zip(sizes, crop.shape[1:], strict=True)]
    return torch.nn.functional.pad(crop, [n for gap in reversed(missing) for n in (gap // 2, gap - gap // 2)])
