"""An optimizer whose steps change all directions of a weight alike: Muon for matrices, Adam for the rest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

LEAST_RANK = 8  # a weight whose matrix has fewer rows or columns has few directions, and takes Adam's steps
MOMENTUM = 0.95
BETAS = (0.9, 0.99)  # of Adam
SCALE = 0.2  # root mean square of a step, in learning rates: that of Adam's usual steps
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_EPSILON = 1e-8


class OrthogonalMomentum(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon): momentum, made orthogonal.

    A weight is taken as a matrix of its first axis by all others. Steps have the size of Adam's, so both share a
    learning rate.

    Args:
        groups: Parameters, or groups of them, each with its ``lr``.
    """

    def __init__(self, groups: Iterable[Tensor] | Iterable[dict[str, Any]], learning_rate: float = 1e-3):
        super().__init__(groups, {"lr": learning_rate})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One step, by the gradients that are there."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    change = self._orthogonal_change if has_directions(parameter) else self._adam_change
                    parameter.sub_(change(parameter), alpha=group["lr"])

    def _orthogonal_change(self, parameter: Tensor) -> Tensor:
        gradient, state = parameter.grad, self.state[parameter]
        momentum = state.setdefault("momentum", torch.zeros_like(parameter))
        momentum.lerp_(gradient, 1 - MOMENTUM)
        direction = gradient.lerp(momentum, MOMENTUM).contiguous().reshape(len(parameter), -1)
        return _orthogonal(direction).reshape(parameter.shape) * (SCALE * max(direction.shape) ** 0.5)

    def _adam_change(self, parameter: Tensor) -> Tensor:
        gradient, state = parameter.grad, self.state[parameter]
        mean = state.setdefault("mean", torch.zeros_like(parameter))
        square = state.setdefault("square", torch.zeros_like(parameter))
        count = state.setdefault("count", torch.zeros((), dtype=torch.float32))
        mean.lerp_(gradient, 1 - BETAS[0])
        square.lerp_(gradient.square(), 1 - BETAS[1])
        count += 1
        number = float(count)
        root = (square / (1 - BETAS[1] ** number)).sqrt().add_(_EPSILON)
        return mean / (1 - BETAS[0] ** number) / root


def has_directions(parameter: Tensor) -> bool:
    """Whether a parameter is a matrix, or kernels, of LEAST_RANK rows and columns at least."""
    return parameter.dim() > 1 and min(len(parameter), parameter[0].numel()) >= LEAST_RANK


def _orthogonal(matrix: Tensor) -> Tensor:
    """Nearly the nearest matrix with singular values of 1, by a few Newton-Schulz steps."""
    tall = matrix.shape[0] > matrix.shape[1]
    root = matrix.T if tall else matrix
    root = root / root.norm().clamp(min=_EPSILON)
    first, third, fifth = _NEWTON_SCHULZ
    for _ in range(_ITERATIONS):
        square = root @ root.T
        root = first * root + (third * square + fifth * square @ square) @ root
    return root.T if tall else root
