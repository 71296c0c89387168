"""Rounded values and weights of whole numbers in OpenVINO operations, from which it makes kernels of whole numbers.

OpenVINO computes a convolution in INT8 where its input is a FakeQuantize of 256 steps and its weight is a constant of
whole numbers, converted and multiplied with a factor per output channel. A FakeQuantize behind a normalization becomes
part of it, so rounding costs no pass of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor


def fake_quantize(ops: Any, node: Any, lowest: int, highest: int, scale: float, zero_point: int) -> Any:
    """Values rounded to the steps from lowest to highest, of which one stands for zero.

    Args:
        ops: An OpenVINO operation set.
        node: Any floating-point node.
        lowest, highest: Whole numbers.
        scale: Width of a step.
        zero_point: The step that stands for zero.
    """
    low, high = (ops.constant(np.float32((end - zero_point) * scale)) for end in (lowest, highest))
    return ops.fake_quantize(node, low, high, low, high, highest - lowest + 1)


class WholeWeights:
    """Products of whole numbers and factors that a recorded network has computed, told by the tensor that holds them.

    Args:
        ops: An OpenVINO operation set.
    """

    def __init__(self, ops: Any):
        self._ops = ops
        self._products: dict[int, tuple[Tensor, Tensor, Tensor]] = {}  # the product too: it keeps its id its own

    def multiplied(self, *factors: Any) -> Tensor | None:
        """The product of whole numbers of eight bits, and of factors; None where these are not such."""
        if len(factors) != 2 or not all(isinstance(factor, Tensor) for factor in factors):
            return None
        whole, factor = factors
        if whole.dtype != torch.int8 or factor.dtype != torch.float32:
            return None
        with torch._C.DisableTorchFunction():
            product = whole.detach() * factor.detach()
        self._products[id(product)] = (product, whole.detach(), factor.detach())
        return product

    def found(self, weight: Tensor, constant: Callable[[Tensor], Any]) -> tuple[Tensor, Callable[[Tensor], Any]]:
        """What a weight is split into parts as, and what makes a node of such a part.

        Args:
            weight: Of a convolution.
            constant: Makes a node of a weight that is no product of whole numbers.
        """
        if id(weight) not in self._products:
            return weight.detach(), constant
        _, whole, factor = self._products[id(weight)]
        return whole, lambda part: self._ops.multiply(self._ops.convert(constant(part), np.float32), constant(factor))
