"""How logits become a label: one of several classes, or regions that overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..image import label_type


@dataclass(frozen=True)
class Head:
    """The network's last 1x1x1 convolution.

    Attributes:
        weight: (L, F).
        bias: (L,) or None.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None = None


@dataclass(frozen=True)
class Decision:
    """What logits mean.

    Attributes:
        values: Label value of each class. For regions, class 0 is "no region" and class i + 1 is channel i.
        regions: True: the last channel with a positive logit (probability above 0.5) wins; False: the largest does.
    """

    values: tuple[int, ...]
    regions: bool = False

    @classmethod
    def for_labels(cls, channels: int) -> Decision:
        """Each channel is a label whose value is its index."""
        return cls(tuple(range(channels)))

    @classmethod
    def for_regions(cls, region_values: Sequence[int]) -> Decision:
        """Channels may overlap; ``region_values`` is nnU-Net's ``regions_class_order``, later ones win."""
        return cls((0, *(int(value) for value in region_values)), regions=True)

    @property
    def dtype(self) -> np.dtype:
        """The smallest type for the labels, uint8 or uint16."""
        return label_type(max(self.values))
