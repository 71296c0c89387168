"""The order in which channels are given up, and what each number of kept channels costs.

Backward elimination with the exact loss of a quadratic: of all channels that are left, the one goes whose loss adds
the least error after the weights of all others have been solved anew (optimal brain surgeon, Hassibi & Stork 1993, for
whole channels). With ``H`` the inverse of the readers' input moment among the channels that are left and ``W`` their
weights so far, giving up channel j adds ``trace(W_j inv(H_jj) W_j^T)``; what is left of the inverse is its Schur
complement. A pivoted Cholesky decomposition of the covariance would order channels by how well they are predicted;
this orders them by what the prediction's error does.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .moments import positive_root


class ReaderLoss:
    """What one reader of a group of channels loses while they are given up one by one.

    Args:
        weight: (rows, C, taps) of the reader's weight at these channels, scaled so that squared norms are errors.
        moment: Of the channels, (C taps, C taps), or (C, C) where taps are not told apart; positive definite.
    """

    def __init__(self, weight: Tensor, moment: Tensor):
        channels = weight.shape[1]
        weight = weight.transpose(1, 2).flatten(0, 1) if len(moment) == channels else weight.flatten(1)
        self._taps = len(moment) // channels
        if len(weight) > weight.shape[1]:  # only products of columns count
            weight = torch.linalg.qr(weight, mode="r")[1]
        self._weight = weight.clone()
        self._inverse = torch.cholesky_inverse(positive_root(moment))

    def added(self, left: Tensor) -> Tensor:
        """Error that giving up each of some channels adds.

        Args:
            left: Indices (N,) of channels that have not been given up.

        Returns:
            (N,)
        """
        rows = self._rows(left).reshape(len(left), self._taps)
        blocks = self._inverse[rows[:, :, None], rows[:, None, :]]
        own = self._weight[:, rows].permute(1, 2, 0)
        lower = torch.linalg.cholesky(blocks)
        return torch.linalg.solve_triangular(lower, own, upper=False).square().sum(dim=(1, 2))

    def give_up(self, channel: int) -> None:
        """Solve the weights of all others anew without this channel."""
        rows = self._rows(torch.tensor([channel]))
        across = torch.linalg.solve(self._inverse[rows][:, rows], self._inverse[rows])
        self._weight -= self._weight[:, rows] @ across
        self._inverse -= self._inverse[:, rows] @ across
        self._weight[:, rows] = 0

    def _rows(self, channels: Tensor) -> Tensor:
        return (channels[:, None] * self._taps + torch.arange(self._taps)).flatten()


def eliminate(readers: Sequence[ReaderLoss], channels: int) -> tuple[Tensor, Tensor]:
    """Give up channels one by one, all of them, always the one whose loss adds the least.

    Args:
        readers: Of these channels; used up.
        channels: Their number C.

    Returns:
        The order (C,): its first n channels are those kept when n are; and errors (C + 1,), index = kept channels.
    """
    left, gone, errors = list(range(channels)), [], [0.0]
    while left:
        added = sum(reader.added(torch.tensor(left)) for reader in readers)
        place = int(added.argmin())
        errors.append(errors[-1] + max(0.0, float(added[place])))
        for reader in readers:
            reader.give_up(left[place])
        gone.append(left.pop(place))
    return torch.tensor(gone[::-1]), torch.tensor(errors[::-1], dtype=torch.float64)
