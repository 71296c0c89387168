"""Convolutions whose kernel is an index map and a codebook. They run as ordinary ones, which :meth:`decoded` gives."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import ModelFileError
from .details import SharingDetails


class Codebook(nn.Module):
    """Shared values, (K,). A module, so that several layers can hold one, as an alias.

    Attributes:
        learning_rate_factor: A center moves by the sum of the gradients of many weights, so trainings move it less; a
            tenth is the reference's ratio.
    """

    learning_rate_factor = 0.1

    def __init__(self, size: int, like: Tensor):
        super().__init__()
        self.centers = nn.Parameter(torch.zeros(size, device=like.device, dtype=like.dtype))


class _Lookup(torch.autograd.Function):
    """``centers[index]``; a center's gradient is the sum of those of all its members."""

    @staticmethod
    def forward(ctx, centers: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.size = len(centers)
        return centers[index.int()]

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        sums = torch.bincount(index.int().flatten(), weights=gradient.double().flatten(), minlength=ctx.size)
        return sums.to(gradient.dtype), None


class _SharedWeight:
    """What both kinds of convolution have in common.

    ``weight`` holds indices of the kernel's shape, ``codebook`` the values, ``scales`` (1,) or (O,) what output
    channels are multiplied with, where there are any.
    """

    def _share(self, conv: nn.Module, details: SharingDetails, codebook: Codebook | None) -> None:
        kind = torch.uint8 if details.index_bits == 8 else torch.uint16
        index = torch.zeros(conv.weight.shape, dtype=kind, device=conv.weight.device)
        self.weight = nn.Parameter(index, requires_grad=False)
        self.bias = conv.bias
        self.codebook = Codebook(details.centers, conv.weight) if codebook is None else codebook
        scales = nn.Parameter(torch.ones(details.scales, device=conv.weight.device, dtype=conv.weight.dtype))
        self.register_parameter("scales", scales if details.scales else None)
        for parameter in (self.codebook.centers, self.scales):
            if parameter is not None:
                parameter.requires_grad_(conv.weight.requires_grad)
        self.train(conv.training)

    def kernel(self) -> Tensor:
        """The weight that the indices stand for."""
        kernel = _Lookup.apply(self.codebook.centers, self.weight)
        if self.scales is None:
            return kernel
        shape = [1] * kernel.ndim
        shape[1 if self.transposed else 0] = -1
        return kernel * self.scales.view(shape)

    def decoded(self) -> nn.Module:
        """The ordinary convolution of the same values.

        Raises:
            ModelFileError: An index is beyond the codebook.
        """
        require_indices_within(self.weight, len(self.codebook.centers), "a layer")
        arguments = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}
        arguments |= {"padding_mode": self.padding_mode}
        if self.transposed:
            arguments["output_padding"] = self.output_padding
        kind = nn.ConvTranspose3d if self.transposed else nn.Conv3d
        conv = kind(self.in_channels, self.out_channels, self.kernel_size, bias=False, device="meta", **arguments)
        conv.weight = nn.Parameter(self.kernel().detach(), requires_grad=self.codebook.centers.requires_grad)
        conv.bias = self.bias
        return conv.train(self.training)


class SharedConv3d(_SharedWeight, nn.Conv3d):
    """A convolution with shared weights.

    Args:
        conv: Whose place it takes; its kernel stays behind.
        details: Size of the codebook, and scales.
        codebook: Of another layer; None: its own, with values of zero.
    """

    def __init__(self, conv: nn.Conv3d, details: SharingDetails, codebook: Codebook | None = None):
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,
            conv.stride,
            conv.padding,
            conv.dilation,
            conv.groups,
            bias=False,
            padding_mode=conv.padding_mode,
            device="meta",
        )
        self._share(conv, details, codebook)

    def forward(self, values: Tensor) -> Tensor:
        return self._conv_forward(values, self.kernel(), self.bias)


class SharedConvTranspose3d(_SharedWeight, nn.ConvTranspose3d):
    """A transposed convolution with shared weights; arguments as for :class:`SharedConv3d`."""

    def __init__(self, conv: nn.ConvTranspose3d, details: SharingDetails, codebook: Codebook | None = None):
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,
            conv.stride,
            conv.padding,
            conv.output_padding,
            conv.groups,
            bias=False,
            dilation=conv.dilation,
            padding_mode=conv.padding_mode,
            device="meta",
        )
        self._share(conv, details, codebook)

    def forward(self, values: Tensor) -> Tensor:
        return functional.conv_transpose3d(
            values,
            self.kernel(),
            self.bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
        )


SHARED: dict[str, Callable[..., nn.Module]] = {"Conv3d": SharedConv3d, "ConvTranspose3d": SharedConvTranspose3d}


def is_shareable(conv: nn.Module) -> bool:
    """Whether a convolution has ordinary weights, whose first or second axis is that of the output channels."""
    return (
        type(conv).__name__ in SHARED and conv.weight.is_floating_point() and not (conv.transposed and conv.groups > 1)
    )


def require_indices_within(index: Tensor, size: int, path: str) -> None:
    """Raise ModelFileError where an index map points beyond a codebook; on the meta device there are no indices.

    Args:
        index: Of any shape.
        size: Of the codebook.
        path: Of the layer, for the message.
    """
    if not index.is_meta and index.numel() and (largest := int(index.int().max())) >= size:
        raise ModelFileError(f"{path}: an index map points to value {largest} of a codebook of {size}.")
