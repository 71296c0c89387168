"""How much the squared error of each weight counts, and what a nat of its index may cost in that unit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ..calibration import Calibration, LayerMoments
from .spec import Spec

FLOOR = 1e-6  # of the mean: what a weight counts at least, since moments are estimates


@dataclass(frozen=True, eq=False)
class Importance:
    """Of one kernel.

    Attributes:
        weights: (O, I taps) above 0, in units of the relative squared error of the logits; where nothing is known of
            these, in units of the kernel's own, alike for all.
        nat_price: Weighted error that one nat of one index is worth.
    """

    weights: np.ndarray
    nat_price: float


def importances(kernels: Mapping[str, Tensor], spec: Spec, moments: Calibration | None) -> dict[str, Importance]:
    """The importance of all weights of all kernels.

    Args:
        kernels: Path to kernel, (O, I, taps).
        spec: Its codebook and rate weight count.
        moments: Of the calibration that the spec names; None: no layer's weights count more than another's.
    """
    count = sum(kernel.numel() for kernel in kernels.values())
    if spec.codebook == "global":
        energy = sum(float(kernel.double().square().sum()) for kernel in kernels.values()) or 1.0
        return {path: Importance(_alike(kernel, energy), spec.rate_weight / count) for path, kernel in kernels.items()}
    result = {}
    for path, kernel in kernels.items():
        layer = moments and moments.layers.get(path)
        if layer is None:
            energy = float(kernel.double().square().sum()) or 1.0
            result[path] = Importance(_alike(kernel, energy), spec.rate_weight / kernel.numel())
        else:
            result[path] = Importance(_by_moments(kernel, layer, moments.logit_energy), spec.rate_weight / count)
    return result


def _alike(kernel: Tensor, energy: float) -> np.ndarray:
    return np.full((len(kernel), math.prod(kernel.shape[1:])), 1 / energy)


def _by_moments(kernel: Tensor, layer: LayerMoments, logit_energy: float) -> np.ndarray:
    """The diagonal of the Gauss-Newton matrix of a kernel."""
    inputs, taps = layer.inputs.diagonal(), kernel.shape[2]
    inputs = inputs if len(inputs) == kernel[0].numel() else inputs.repeat_interleave(taps)
    counts = (layer.outputs.diagonal()[:, None] * inputs / logit_energy).clamp(min=0)
    return counts.clamp(min=max(FLOOR * float(counts.mean()), 1e-30)).numpy()
