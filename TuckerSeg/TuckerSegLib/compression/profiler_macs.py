"""Multiply-accumulates as torchprofile counts them, in which TokenSparse (arXiv:2303.06522) gives its figures."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from .trace import NORMS, trace


def profiler_macs(network: nn.Module, patch_shape: Sequence[int], input_channels: int | None = None) -> int:
    """Count a forward pass of one patch as torchprofile does.

    Unlike ``cost.count``, a transposed convolution counts its whole kernel for every voxel of its output, although
    where its stride is that of its kernel only one tap falls on each; a norm with weights counts one for every
    element, and so does the scaling of attention's weights.

    Args:
        network, patch_shape, input_channels: As of ``cost.count``.

    Raises:
        SpecError: The network cannot take such a patch.
    """
    forward_pass = trace(network, patch_shape, input_channels)
    macs = forward_pass.attention_weights + sum(forward_pass.product_macs.values())
    for call in forward_pass.calls:
        module, elements = network.get_submodule(call.path), math.prod(call.output_shape)
        if isinstance(module, NORMS):
            macs += elements if module.weight is not None else 0
        elif isinstance(module, nn.Linear):
            macs += elements * module.in_features
        else:
            inputs = module.in_channels // module.groups
            macs += elements * inputs * math.prod(module.kernel_size)
    return macs
