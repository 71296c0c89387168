"""How well a compressed model agrees with its original on patches that nothing was fitted to.

The patches are other crops of the volumes at hand than those of a calibration or a refit: agreement on them is that on
volumes like these, which calibration has seen, and tells less of others. PyTorch computes both in single precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .. import catalog, hardware
from ..evaluation.dice import mean_dice
from ..image import Image, read_image
from ..monitor import Monitor
from .calibration import calibration_patches, has_built_in_volumes
from .model import SegmentationModel

if TYPE_CHECKING:
    import torch

PATCHES_PER_VOLUME = 3
SEED = 23  # other crops than those of calibration, refit and repair


class HeldBackAgreement:
    """Agreement with an original on held-back patches of some volumes.

    Args:
        original: The model whose labels count as right; its labels are computed once.
        volumes: Any that it can segment. For a model of CTs the built-in synthetic torso is added.
        monitor: Asked after each patch whether to stop.

    Raises:
        ImageError: A volume does not fit the model.
        Cancelled: The monitor said so.
    """

    def __init__(self, original: SegmentationModel, volumes: Sequence[Image], monitor: Monitor):
        volumes = list(volumes) + ([read_image(catalog.DEMO_VOLUME)] if has_built_in_volumes(original) else [])
        self._patches = [
            patch for volume in volumes for patch in calibration_patches(original, volume, PATCHES_PER_VOLUME, SEED)
        ]
        self._monitor = monitor
        self._labels = self._labels_of(original)

    def of(self, model: SegmentationModel) -> float:
        """Mean Dice of a model's labels against the original's, over structures of at least 20 voxels.

        Where the original finds none of that size, the share of voxels with equal labels.
        """
        labels = self._labels_of(model)
        dice = mean_dice(labels, self._labels)
        return float(np.mean(labels == self._labels)) if np.isnan(dice) else dice

    def _labels_of(self, model: SegmentationModel) -> np.ndarray:
        """Classes (patches, Z, Y, X) of all patches: the largest logit, or the last region above one half."""
        import torch

        labels = []
        with torch.inference_mode(), hardware.torch_threads(hardware.default_threads()), hardware.freed_memory_kept():
            networks = [model.network(fold) for fold in model.folds]
            for patch in self._patches:
                self._monitor.check()
                logits = sum(_first(network(patch)) for network in networks)
                labels.append(_classes(logits[0], bool(model.plans.region_values)))
        return np.stack(labels)


def _first(output: torch.Tensor | Sequence[torch.Tensor]) -> torch.Tensor:
    return output[0] if isinstance(output, (list, tuple)) else output


def _classes(logits: torch.Tensor, regions: bool) -> np.ndarray:
    """Classes (Z, Y, X) of logits (L, Z, Y, X)."""
    import torch

    if not regions:
        return logits.argmax(dim=0).numpy().astype(np.int32)
    numbers = torch.arange(1, len(logits) + 1)[:, None, None, None]
    return ((logits > 0) * numbers).amax(dim=0).numpy().astype(np.int32)
