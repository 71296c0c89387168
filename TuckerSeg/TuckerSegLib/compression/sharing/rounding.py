"""Rounding with feedback: weights are rounded one input after the other, and those to come take on the error.

Inputs of a layer are alike, so what one weight's rounding adds to the output others can take away again: the optimal
update of Frantar et al. 2022 (GPTQ, arXiv:2210.17323), whose Hessian is the calibration's second moment.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

DAMPING = 1e-2  # of the mean of the moment's diagonal: what the volumes of a calibration did not show must not explode

RoundColumn = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]


def round_with_feedback(weight: np.ndarray, inputs: Tensor, round_column: RoundColumn) -> np.ndarray:
    """Round a weight column by column, those with the largest moment first.

    Args:
        weight: (R, N).
        inputs: Second moment of what rows are multiplied with, (N, N).
        round_column: From the values (R,) that a column has come to, and its number, to indices (R,) and the values
            that these stand for.

    Returns:
        Indices, (R, N).
    """
    order = np.argsort(-inputs.diagonal().numpy(), kind="stable")
    upper = _feedback(inputs, order)
    values, indices = weight[:, order].T.astype(np.float32), np.empty(weight.shape[::-1], np.int64)  # rows contiguous
    for place, column in enumerate(order):
        indices[column], rounded = round_column(values[place], column)
        error = (values[place] - rounded) / upper[place, place]
        values[place + 1 :] -= np.outer(upper[place, place + 1 :], error)
    return indices.T


def _feedback(inputs: Tensor, order: np.ndarray) -> np.ndarray:
    """The upper triangular factor of the inverse moment: how much a column's error changes those to come."""
    moment = inputs.double()[order][:, order]
    moment = moment + DAMPING * moment.diagonal().mean().clamp(min=1e-30) * torch.eye(len(moment), dtype=torch.float64)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(moment))
    return torch.linalg.cholesky(inverse, upper=True).float().numpy()
