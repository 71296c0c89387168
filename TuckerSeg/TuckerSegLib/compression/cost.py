"""Exact counts of parameters and their bits, multiply-accumulates and normalized elements for one patch.

MACs are those of convolutions, of linear layers and of attention's two products (queries with keys, weights with
values); biases, activations, softmax, rotations and additions are not counted. With five
operations per normalized element they give the figures that fvcore prints and the Tucker paper (arXiv:2404.09683)
calls FLOPs: ``Cost.paper_flops``. Only what takes part in the forward pass counts, so unused deep-supervision heads
do not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from ..records.compression import Cost
from .trace import NORMS, Call, trace


@dataclass(frozen=True)
class NetworkCost:
    """The cost of a network for one patch.

    Attributes:
        total: The whole network.
        layers: Module path (the first of its aliases) to its share; every layer that has a cost.
        output_shape: (L, Z, Y, X) of the network's first output.
    """

    total: Cost
    layers: dict[str, Cost]
    output_shape: tuple[int, ...]

    @property
    def output_voxels(self) -> int:
        """Voxels of the network's first output for one patch."""
        return math.prod(self.output_shape[1:])


def count(network: nn.Module, patch_shape: Sequence[int], input_channels: int | None = None) -> NetworkCost:
    """Count what a forward pass of one patch costs. Touches neither the weights nor the network.

    Args:
        network: From (B, C, Z, Y, X) to a tensor or a list of tensors; on any device, the meta device included.
        patch_shape: (Z, Y, X) in voxels.
        input_channels: C; None takes the input channels of the network's first convolution.

    Raises:
        SpecError: The network cannot take such a patch.
    """
    forward_pass = trace(network, patch_shape, input_channels)
    layers = {
        path: Cost(parameters, 0, 0, forward_pass.weight_bits[path])
        for path, parameters in forward_pass.parameters.items()
    }
    for call in forward_pass.calls:
        layers[call.path] = layers.get(call.path, Cost(0, 0)) + _cost_of_call(network.get_submodule(call.path), call)
    for path, macs in forward_pass.product_macs.items():
        layers[path] = layers.get(path, Cost(0, 0)) + Cost(0, macs)
    total = sum(layers.values(), Cost(0, 0))
    return NetworkCost(total, layers, forward_pass.output_shapes[0][1:])


def _cost_of_call(module: nn.Module, call: Call) -> Cost:
    """MACs and normalized elements of one call; parameters are counted by the caller."""
    if isinstance(module, NORMS):
        return Cost(0, 0, math.prod(call.output_shape))
    if isinstance(module, nn.Linear):
        return Cost(0, math.prod(call.output_shape) * module.in_features)
    # Every weight is used once per output voxel, in a transposed convolution once per input voxel.
    voxels = math.prod((call.input_shape if module.transposed else call.output_shape)[2:])
    return Cost(0, call.input_shape[0] * voxels * module.weight.numel())
