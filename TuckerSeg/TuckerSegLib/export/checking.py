"""Checks that an exported network computes what the model does, by running one patch through both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import OutputError

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ..models.model import SegmentationModel

AIR = 3.0  # below the mean, in standard deviations
TOLERANCE = {"fp32": 1e-3, "fp16": 5e-2}  # of the largest logit; what an export is not to be used beyond


def sample_patch(model: SegmentationModel) -> torch.Tensor:
    """A patch (1, C, Z, Y, X) like one of a normalized CT: smooth shapes, and air, where rounding errors show first."""
    import torch

    shape = model.plans.patch_shape
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, model.plans.input_channels, *(max(2, size // 8) for size in shape), generator=generator)
    patch = torch.nn.functional.interpolate(coarse, shape, mode="trilinear") * 1.5
    patch[..., : shape[1] // 4, :] = -AIR
    return patch


def difference(logits: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference of logits, relative to the largest expected one.

    Args:
        logits: From the exported network, (B, L, Z, Y, X).
        expected: From the model.

    Raises:
        OutputError: The shapes differ, or some logits are not numbers.
    """
    import numpy as np

    if logits.shape != expected.shape:
        raise OutputError(f"The exported network gives {logits.shape}, the model {expected.shape}. Please report it.")
    worst = float(np.abs(logits.astype(np.float64) - expected).max() / max(float(np.abs(expected).max()), 1e-12))
    if np.isnan(worst):
        raise OutputError("The exported network gives what is not a number. Please report it.")
    return worst


def require_agreement(logits: np.ndarray, expected: np.ndarray, weights: str, program: str) -> float:
    """Refuse an exported network whose logits differ too much from the model's.

    Args:
        logits: From the exported network, (B, L, Z, Y, X).
        expected: From the model.
        weights: Precision of the exported weights, ``fp32`` or ``fp16``.
        program: Name of the program that ran the exported network, for the message.

    Returns:
        The largest difference, see :func:`difference`.

    Raises:
        OutputError: It is larger than ``TOLERANCE`` allows.
    """
    worst = difference(logits, expected)
    if worst > TOLERANCE[weights]:
        raise OutputError(
            f"{program} computes something else from the exported network than the model does: logits differ by "
            f"{worst:.2g} of the largest one, where at most {TOLERANCE[weights]:g} is expected. Nothing was written."
        )
    return worst
