"""Values that a convolution reads at sampled positions, as rows of a matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

MOST_TAP_CHANNELS = 1728  # input channels x taps up to which taps are told apart: 64 channels of a 3x3x3 kernel


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
    """Draw different positions, rising indices (N,) into the flattened shape that :func:`output_shape` gives.

    One at random in each cell of a grid: neighbors tell nearly the same, so positions that are spread out tell more.

    Args:
        conv: The convolution.
        values: Its input for one patch, (1, I, Z, Y, X).
        most: Largest N; where there are no more voxels than that, all are given.
        generator: On the CPU.
    """
    shape = output_shape(conv, values)
    if math.prod(shape) <= most:
        return torch.arange(math.prod(shape))
    cells = _cells(shape, most)
    drawn = torch.rand(3, *cells, generator=generator)
    z, y, x = (_in_cells(axis, size, drawn[axis]) for axis, size in enumerate(shape))
    return ((z * shape[1] + y) * shape[2] + x).flatten().sort().values  # what lies near is read near in time


def _cells(shape: Sequence[int], most: int) -> tuple[int, int, int]:
    """How many cells a grid of voxels is divided into along each axis, about cubes, and no more than that in all."""
    scale = (most / math.prod(shape)) ** (1 / sum(size > 1 for size in shape))
    cells = [max(1, int(size * scale)) for size in shape]
    while True:
        more = {axis: math.prod(cells) // cells[axis] * (cells[axis] + 1) for axis in range(3)}
        possible = [axis for axis in range(3) if cells[axis] < shape[axis] and more[axis] <= most]
        if not possible:
            return tuple(cells)
        cells[max(possible, key=lambda axis: shape[axis] / cells[axis])] += 1


def _in_cells(axis: int, size: int, drawn: Tensor) -> Tensor:
    """Coordinates along an axis of that size: for every cell one of its own, by numbers of 0 to 1 (Z, Y, X)."""
    count = drawn.shape[axis]
    limits = torch.arange(count + 1) * size // count
    widths = limits.diff().reshape([-1 if other == axis else 1 for other in range(3)])
    return limits[:-1].reshape(widths.shape) + (drawn * widths).long()


def neighborhoods(conv: nn.Module, values: Tensor, positions: Tensor, taps: bool = True) -> Tensor:
    """Rows of the values that a convolution's kernel is multiplied with at sampled positions.

    Args:
        conv: Three-dimensional, padded with zeros.
        values: Its input for one patch, (1, I, Z, Y, X).
        positions: (N,) from :func:`sample_positions`.
        taps: False gives the input's own channels at these positions of its grid.

    Returns:
        (N, I taps), taps varying fastest, or (N, I); transposed in memory.
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
    read = (offsets[:, None] + corner).flatten()
    return padded.flatten(1).index_select(1, read).reshape(-1, len(positions)).T


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


def tells_taps_apart(conv: nn.Module) -> bool:
    """Whether the input moment of a layer covers its taps too; otherwise taps count as uncorrelated and alike.

    Each tap of a transposed convolution whose kernel is its stride makes output voxels of its own, so nothing is
    lost there.
    """
    return not conv.transposed and conv.in_channels * math.prod(conv.kernel_size) <= MOST_TAP_CHANNELS
