"""The up to three layers that take a convolution's place: 1x1x1, the core, 1x1x1."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..linear_layers import LinearView
from .details import TuckerDetails


def build(conv: nn.Module, details: TuckerDetails) -> nn.Sequential:
    """The up to three layers that take a convolution's place, with uninitialized weights.

    They are on the device and of the type of its weight, and have its bias; torch's random generators stay as they are.

    Args:
        conv: ``Conv3d``, ``ConvTranspose3d``, or the view of a linear layer; not changed.
        details: Ranks, and whether factors at full rank are merged into the core.
    """
    if isinstance(conv, LinearView):
        return _two_linear(conv, details)
    r, s = details.ranks
    squeezes, expands = outer_layers(conv, details)
    like = {"device": conv.weight.device, "dtype": conv.weight.dtype}
    shape = {"kernel_size": conv.kernel_size, "stride": conv.stride, "dilation": conv.dilation}
    shape |= {"padding": conv.padding, "padding_mode": conv.padding_mode}
    if conv.transposed:
        shape |= {"output_padding": conv.output_padding}
    layers = [_uninitialized(nn.Conv3d, conv.in_channels, s, 1, bias=False, **like)] if squeezes else []
    layers.append(_uninitialized(type(conv), s, r, bias=False, **shape, **like))
    if expands:
        layers.append(_uninitialized(nn.Conv3d, r, conv.out_channels, 1, bias=False, **like))
    layers[-1].bias = conv.bias
    return nn.Sequential(*layers).train(conv.training).requires_grad_(conv.weight.requires_grad)


def _two_linear(linear: LinearView, details: TuckerDetails) -> nn.Sequential:
    """The two layers that take a linear layer's place."""
    like = {"device": linear.weight.device, "dtype": linear.weight.dtype}
    layers = [
        _uninitialized(nn.Linear, linear.in_channels, details.ranks[0], bias=False, **like),
        _uninitialized(nn.Linear, details.ranks[0], linear.out_channels, bias=False, **like),
    ]
    layers[-1].bias = linear.bias
    return nn.Sequential(*layers).train(linear.module.training).requires_grad_(linear.weight.requires_grad)


def _uninitialized(layer_class: type[nn.Module], *arguments: Any, device: torch.device, **settings: Any) -> nn.Module:
    """A layer whose weights have no values yet; as torch's ``skip_init``, which imports sympy: a second."""
    layer = layer_class(*arguments, device="meta", **settings)
    if device.type != "meta":
        for name, shape in list(layer.named_parameters()):
            layer.register_parameter(name, nn.Parameter(torch.empty(shape.shape, dtype=shape.dtype, device=device)))
    return layer


def outer_layers(conv: nn.Module, details: TuckerDetails) -> tuple[bool, bool]:
    """Whether the layers in a convolution's place have a 1x1x1 layer before the core, and one behind it."""
    r, s = details.ranks
    return not (details.merged and s == conv.in_channels), not (details.merged and r == conv.out_channels)


@torch.no_grad()
def fill(
    layers: nn.Sequential,
    conv: nn.Module,
    details: TuckerDetails,
    core: torch.Tensor,
    output_factor: torch.Tensor,
    input_factor: torch.Tensor,
) -> None:
    """Write factors into the layers that take a convolution's place, in place.

    Args:
        layers: From :func:`build`, with the same details.
        conv: The convolution that they replace.
        details: Its ranks (r, s), and whether factors at full rank are merged.
        core: (r, s, kz, ky, kx).
        output_factor: (O, r).
        input_factor: (I, s).
    """
    squeezes, expands = outer_layers(conv, details)
    if squeezes:
        layers[0].weight.copy_(input_factor.T[..., None, None, None])
    else:
        core = torch.einsum("rs...,is->ri...", core, input_factor)
    if expands:
        layers[-1].weight.copy_(output_factor.reshape(layers[-1].weight.shape))
    else:
        core = torch.einsum("or,rs...->os...", output_factor, core)
    middle = layers[1 if squeezes else 0]
    middle.weight.copy_((core.transpose(0, 1) if conv.transposed else core).reshape(middle.weight.shape))


def composed(layers: nn.Sequential, conv: nn.Module, details: TuckerDetails) -> torch.Tensor:
    """The weight (O, I, kz, ky, kx) that the layers in a convolution's place stand for.

    Args:
        layers: From :func:`build`, filled.
        conv: The convolution that they replace.
        details: As :func:`build` was given them.
    """
    squeezes, expands = outer_layers(conv, details)
    weight = layers[int(squeezes)].weight
    weight = weight.transpose(0, 1) if conv.transposed else weight
    if squeezes:
        weight = torch.einsum("rs...,si->ri...", weight, layers[0].weight.flatten(1))
    if expands:
        weight = torch.einsum("or,rs...->os...", layers[-1].weight.flatten(1), weight)
    return weight
