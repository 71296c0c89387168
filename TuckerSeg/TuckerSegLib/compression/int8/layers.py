"""A convolution that computes with whole numbers of eight bits, as any backend can simulate it exactly.

Inputs are rounded to 256 steps, weights are whole numbers of one byte with a factor per output channel. PyTorch
computes the rounded values in floating point; a backend that knows the two operations
(``fake_quantize_per_tensor_affine``, and whole numbers times factors) may compute with the whole numbers themselves
and gives the same, but for the order of its sums.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

LOWEST, HIGHEST = 0, 255  # of inputs
LARGEST_WEIGHT = 127


class QuantizedConv3d(nn.Conv3d):
    """A 3D convolution of rounded inputs with a weight of whole numbers.

    Args:
        conv: The convolution in whose place it comes; not changed. Its bias is shared. Weight, factors and steps are
            uninitialized, on its device.
        parts: Channels of each part of the input that has a range of its own; they add up to all.

    Attributes:
        parts: As given.
        weight: Whole numbers, (O, I, kz, ky, kx), int8.
        weight_scale: What one of the weight stands for, per output channel, (O,).
        input_scale: Width of a step of the input, (parts,).
        input_zero_point: The step that stands for zero, 0 to 255, (parts,), int32.
    """

    def __init__(self, conv: nn.Conv3d, parts: Sequence[int]):
        # On the meta device: the weight of floating point is thrown away at once
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,
            conv.stride,
            conv.padding,
            conv.dilation,
            bias=False,
            padding_mode=conv.padding_mode,
            device="meta",
        )
        device, count = conv.weight.device, len(parts)

        self.parts = tuple(parts)
        whole = torch.empty(conv.weight.shape, dtype=torch.int8, device=device)
        self.weight = nn.Parameter(whole, requires_grad=False)
        # Buffers: no training changes them
        self.register_buffer("weight_scale", torch.empty(conv.out_channels, device=device))
        self.register_buffer("input_scale", torch.empty(count, device=device))
        self.register_buffer("input_zero_point", torch.empty(count, dtype=torch.int32, device=device))
        self.bias = conv.bias
        self.train(conv.training)

    def forward(self, values: Tensor) -> Tensor:
        """(B, I, Z, Y, X) to (B, O, Z, Y, X)."""
        return self.convolved(values, self.weight * self.weight_scale[:, None, None, None, None])

    def convolved(self, values: Tensor, weight: Tensor) -> Tensor:
        """The same with the weight that its whole numbers and factors make, (O, I, kz, ky, kx)."""
        weight = weight if weight.dtype == values.dtype else weight.to(values.dtype)
        return self._conv_forward(self._rounded(values), weight, self.bias)

    def _rounded(self, values: Tensor) -> Tensor:
        parts = values.split(self.parts, dim=1) if len(self.parts) > 1 else (values,)
        rounded = [
            _fake_quantized(part, self.input_scale[number], self.input_zero_point[number])
            for number, part in enumerate(parts)
        ]
        return torch.cat(rounded, dim=1) if len(rounded) > 1 else rounded[0]


@torch.no_grad()
def rounded_plainly(conv: nn.Conv3d, low: float, high: float) -> QuantizedConv3d:
    """A convolution whose weight is rounded to the nearest and whose inputs have the range from low to high.

    Args:
        conv: Not changed.
        low, high: At most 0, and above it.
    """
    layer = QuantizedConv3d(conv, (conv.in_channels,))
    layer.weight_scale = conv.weight.flatten(1).abs().amax(1).clamp(min=1e-12) / LARGEST_WEIGHT
    whole = (conv.weight / layer.weight_scale[:, None, None, None, None]).round()
    layer.weight = nn.Parameter(whole.to(torch.int8), requires_grad=False)
    scale = (high - low) / (HIGHEST - LOWEST)
    layer.input_scale.fill_(scale)
    layer.input_zero_point.fill_(round(-low / scale))
    return layer


def _fake_quantized(values: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    if values.dtype == torch.float32 and scale.dtype == torch.float32:
        return torch.fake_quantize_per_tensor_affine(values, scale, zero_point, LOWEST, HIGHEST)
    rounded = torch.fake_quantize_per_tensor_affine(values.float(), scale.float(), zero_point, LOWEST, HIGHEST)
    return rounded.to(values.dtype)
