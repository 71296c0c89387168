"""How logits become a label: one class per voxel, or nnU-Net's regions, which overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..image import label_type


@dataclass(frozen=True)
class Decision:
    """The rule by which the logits of a voxel become its label.

    Attributes:
        values: Label value of each class. For regions, class 0 is "no region" and class i + 1 is channel i.
        regions: True: the last channel with a positive logit (probability above 0.5) wins; False: the channel with the
            largest logit wins.
    """

    values: tuple[int, ...]
    regions: bool = False

    @classmethod
    def for_labels(cls, channels: int) -> Decision:
        """The rule for exclusive classes: each of ``channels`` logits is a label whose value is its index."""
        return cls(tuple(range(channels)))

    @classmethod
    def for_regions(cls, region_values: Sequence[int]) -> Decision:
        """The rule for overlapping regions; ``region_values`` is nnU-Net's ``regions_class_order``, later ones win."""
        return cls((0, *(int(value) for value in region_values)), regions=True)

    @property
    def dtype(self) -> np.dtype:
        """The smallest type that holds all label values, uint8 or uint16."""
        return label_type(max(self.values))
