"""Values that a convolution reads at sampled positions, as rows of a matrix."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

POSITIONS = 8192  # per patch and layer; several times the largest moment matrix over a few patches


def output_shape(conv: nn.Module, values: Tensor) -> tuple[int, ...]:
    """Shape (Z, Y, X) of the voxels at which a convolution's kernel is laid on an input (1, I, Z, Y, X).

    That is the output's shape; a transposed convolution's kernel is laid at its input's voxels.
    """
    if conv.transposed:
        return tuple(values.shape[2:])
    return tuple(
        (values.shape[axis + 2] + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
        for axis, (pad, dilation, kernel, stride) in enumerate(
            zip(_padding(conv), conv.dilation, conv.kernel_size, conv.stride, strict=True)
        )
    )


def sample_positions(conv: nn.Module, values: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Draw different positions, indices (N,) into the flattened shape that :func:`output_shape` gives.

    Args:
        conv: The convolution.
        values: Its input for one patch, (1, I, Z, Y, X).
        most: Largest N; where there are no more voxels than that, all are given, in order.
        generator: On the CPU.
    """
    count = math.prod(output_shape(conv, values))
    return torch.randperm(count, generator=generator)[:most] if count > most else torch.arange(count)


def neighborhoods(conv: nn.Module, values: Tensor, positions: Tensor, taps: bool = True) -> Tensor:
    """Rows of the values that a convolution's kernel is multiplied with at sampled positions.

    Args:
        conv: Three-dimensional, padded with zeros.
        values: Its input for one patch, (1, I, Z, Y, X).
        positions: (N,) from :func:`sample_positions`.
        taps: False gives the input's own channels at these positions of its grid.

    Returns:
        (N, I taps), taps varying fastest, or (N, I).
    """
    if not taps or conv.transposed:
        return _pointwise(conv, values, positions)
    z_size, y_size, x_size = output_shape(conv, values)
    pads = _padding(conv)
    padded = nn.functional.pad(values[0], [size for pad in reversed(pads) for size in (pad, pad)])
    rows, columns = padded.shape[2:]
    z, y, x = positions // (y_size * x_size), positions // x_size % y_size, positions % x_size
    corner = (z * conv.stride[0] * rows + y * conv.stride[1]) * columns + x * conv.stride[2]
    offsets = torch.tensor(
        [
            (a * conv.dilation[0] * rows + b * conv.dilation[1]) * columns + c * conv.dilation[2]
            for a in range(conv.kernel_size[0])
            for b in range(conv.kernel_size[1])
            for c in range(conv.kernel_size[2])
        ]
    )
    taps_of_channels = padded.flatten(1)[:, corner[:, None] + offsets]  # (I, N, taps)
    return taps_of_channels.transpose(0, 1).flatten(1)


def _pointwise(conv: nn.Module, values: Tensor, positions: Tensor) -> Tensor:
    """The input's channels at sampled positions, (N, I)."""
    flat = values[0].flatten(1)
    if conv.transposed:
        return flat[:, positions].T
    # The voxel under the kernel's middle: a stride skips voxels, their moments are the same.
    z_size, y_size, x_size = output_shape(conv, values)
    z, y, x = positions // (y_size * x_size), positions // x_size % y_size, positions % x_size
    rows, columns = values.shape[3:]
    steps = [torch.clamp(p * s, max=size - 1) for p, s, size in zip((z, y, x), conv.stride, values.shape[2:])]
    return flat[:, (steps[0] * rows + steps[1]) * columns + steps[2]].T


def _padding(conv: nn.Module) -> tuple[int, ...]:
    if isinstance(conv.padding, str):
        return tuple(d * (k - 1) // 2 if conv.padding == "same" else 0 for d, k in zip(conv.dilation, conv.kernel_size))
    return tuple(conv.padding)
