"""Labels of a cascade's first stage as input channels of its second, one per structure, as nnunetv2 2.x does it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from .label_resampling import marked_outside, resampled_labels


def one_hot(
    labels: np.ndarray, image: np.ndarray, values: Sequence[int], shape: Sequence[int], axis: int | None
) -> torch.Tensor:
    """One channel per structure, 1 where it is.

    Args:
        labels: Whole numbers (Z, Y, X), a view of any strides.
        image: (C, Z, Y, X) on the same grid, before normalization.
        values: Of the structures, one per channel.
        shape: (Z, Y, X) of the result.
        axis: That is resampled on its own; None: none.

    Returns:
        float32, (len(values), *shape).
    """
    if tuple(labels.shape) != tuple(shape):
        labels = resampled_labels(marked_outside(labels, image), tuple(shape), axis)
    return torch.from_numpy(np.stack([labels == value for value in values]).astype(np.float32))
