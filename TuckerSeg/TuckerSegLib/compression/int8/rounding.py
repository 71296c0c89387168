"""Weights rounded to whole numbers of eight bits, each rounding making up for the errors of those before it.

The order and the correction are those of GPTQ (Frantar et al. 2023, arXiv:2210.17323), by the input moment that
calibration gives. The noise of the rounded inputs is part of that moment: it keeps the correction from leaning on
directions that the noise drowns.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .layers import LARGEST_WEIGHT

_RIDGE = 1e-2  # of the mean of the moment's diagonal, as in GPTQ
_SHRINKING = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)  # of a row's largest weight: what lies beyond is cut


@dataclass(frozen=True, eq=False)
class RoundedWeight:
    """A weight in whole numbers.

    Attributes:
        whole: (O, I, taps), int8.
        scale: Above 0, (O,), float32.
        error: trace(output moment @ E @ input moment @ E.T) of its error E.
    """

    whole: Tensor
    scale: Tensor
    error: float


def rounded(weight: Tensor, inputs: Tensor, outputs: Tensor, noise: Tensor) -> RoundedWeight:
    """Round a weight, by correction or each by itself, whichever costs less.

    Args:
        weight: (O, I, taps).
        inputs: Moment of what it is multiplied with, (I taps, I taps), or (I, I) where taps count alike.
        outputs: Moment of the gradients at the output, (O, O).
        noise: Mean squared error of the rounded inputs, (I,).
    """
    weight = weight.double()
    rows, moment = _as_rows(weight, inputs), inputs.double()
    damped = moment + torch.diag(noise.double().repeat_interleave(len(moment) // len(noise)))
    level = float(damped.diagonal().mean())
    damped += (_RIDGE * level if level > 0 else 1.0) * torch.eye(len(damped), dtype=damped.dtype)
    scale = _scales(weight, rows, damped.diagonal())
    row_scale = scale.repeat_interleave(len(rows) // len(scale))[:, None]
    candidates = [_nearest(rows, row_scale), _corrected(rows, damped, row_scale)]
    errors = [_error(_from_rows(rows - whole * row_scale, weight), moment, outputs) for whole in candidates]
    best = min((0, 1), key=lambda number: errors[number])
    whole = _from_rows(candidates[best], weight).to(torch.int8)
    return RoundedWeight(whole, scale.float(), errors[best])


def noise_error(weight: Tensor, outputs: Tensor, noise: Tensor) -> float:
    """Squared error of the logits by independent errors of the inputs.

    Args:
        weight: (O, I, taps).
        outputs: Moment of the gradients at the output, (O, O).
        noise: Mean squared error of each input channel, (I,).
    """
    return float((channel_weights(weight, outputs) * noise.double()).sum())


def channel_weights(weight: Tensor, outputs: Tensor) -> Tensor:
    """How much a squared error of each input channel matters in the logits, (I,); arguments as :func:`noise_error`."""
    weight = weight.double()
    pulled = torch.einsum("ab,bik->aik", outputs.double(), weight)
    return (pulled * weight).sum(dim=(0, 2)).clamp(min=0)


def _as_rows(weight: Tensor, inputs: Tensor) -> Tensor:
    """Rows (O, I taps), or (O taps, I) where the moment does not tell taps apart."""
    if len(inputs) == weight.shape[1] * weight.shape[2]:
        return weight.flatten(1)
    return weight.transpose(1, 2).flatten(0, 1)


def _from_rows(rows: Tensor, like: Tensor) -> Tensor:
    """The weight (O, I, taps) of rows that :func:`_as_rows` gives."""
    if len(rows) == len(like):
        return rows.reshape(like.shape)
    return rows.reshape(len(like), like.shape[2], like.shape[1]).transpose(1, 2)


def _scales(weight: Tensor, rows: Tensor, importance: Tensor) -> Tensor:
    """Per output channel the scale (O,) whose plain rounding costs least, inputs counted as uncorrelated."""
    largest = weight.flatten(1).abs().amax(1).clamp(min=1e-12)
    best, least = largest / LARGEST_WEIGHT, torch.full_like(largest, float("inf"))
    for share in _SHRINKING:
        scale = largest * share / LARGEST_WEIGHT
        row_scale = scale.repeat_interleave(len(rows) // len(scale))[:, None]
        costs = (rows - _nearest(rows, row_scale) * row_scale).square() @ importance
        costs = costs.reshape(len(scale), -1).sum(1)
        best, least = torch.where(costs < least, scale, best), torch.minimum(costs, least)
    return best


def _nearest(rows: Tensor, scale: Tensor) -> Tensor:
    return (rows / scale).round().clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT)


def _corrected(rows: Tensor, moment: Tensor, scale: Tensor) -> Tensor:
    """Whole numbers of the same shape, columns of the largest moment first."""
    order = moment.diagonal().argsort(descending=True)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(moment[order][:, order]))
    upper = torch.linalg.cholesky(inverse, upper=True)
    left, whole = rows[:, order].clone(), torch.empty_like(rows)
    for column in range(left.shape[1]):
        values = _nearest(left[:, column : column + 1], scale)
        whole[:, column] = values[:, 0]
        error = (left[:, column] - values[:, 0] * scale[:, 0]) / upper[column, column]
        left[:, column + 1 :] -= error[:, None] * upper[column, column + 1 :]
    result = torch.empty_like(whole)
    result[:, order] = whole
    return result


def _error(difference: Tensor, inputs: Tensor, outputs: Tensor) -> float:
    """trace(outputs @ E @ inputs @ E.T) of a difference E (O, I, taps)."""
    rows = _as_rows(difference, inputs)
    seen = _from_rows(rows @ inputs, difference)
    pulled = torch.einsum("ab,bik->aik", outputs.double(), difference)
    return max(0.0, float((seen * pulled).sum()))
