"""Crops of volumes as a network sees them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def random_crop(data: Tensor, sizes: Sequence[int], generator: torch.Generator) -> Tensor:
    """A random box of data (C, Z, Y, X), as a view.

    Args:
        data: To cut from.
        sizes: (Z, Y, X) of the crop; where the data are smaller along an axis, it has their size there.
        generator: On the CPU; decides where the crop lies.
    """
    box = [slice(None)]
    for size, length in zip(data.shape[1:], sizes, strict=True):
        start = int(torch.randint(0, max(1, size - length + 1), (1,), generator=generator))
        box.append(slice(start, start + length))
    return data[tuple(box)]


def padded(crop: Tensor, sizes: Sequence[int]) -> Tensor:
    """A crop (C, Z, Y, X) with zeros around it up to sizes (Z, Y, X), as images are padded before inference."""
    missing = [length - size for length, size in zip(sizes, crop.shape[1:], strict=True)]
    return torch.nn.functional.pad(crop, [n for gap in reversed(missing) for n in (gap // 2, gap - gap // 2)])
