"""Output layers: dropping those that a network never runs, and taking the last 1x1x1 convolution off.

Deep-supervision networks carry one head per stage and use the last. And because a 1x1x1 head is linear, it may be
applied after patches have been averaged and resampled instead of before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..errors import SpecError
from ..linear_head import Head
from .layers import replace_modules
from .trace import ANY_PATCH_SHAPE, Trace, trace


def drop_unused_heads(
    network: nn.Module, patch_shape: Sequence[int] = ANY_PATCH_SHAPE, input_channels: int | None = None
) -> tuple[str, ...]:
    """Replace, in place, every module whose parameters take no part in the forward pass by ``nn.Identity``.

    Args:
        network: Changed in place. Its output does not change.
        patch_shape: (Z, Y, X) that the network can take.
        input_channels: C; None takes the input channels of the network's first convolution.

    Returns:
        Paths of what was dropped.

    Raises:
        SpecError: The network cannot take such a patch.
    """
    unused = trace(network, patch_shape, input_channels).unused
    replace_modules(network, {network.get_submodule(path): nn.Identity() for path in unused if path})
    return unused


def find_head(
    network: nn.Module, patch_shape: Sequence[int] = ANY_PATCH_SHAPE, input_channels: int | None = None
) -> str | None:
    """Path of the 1x1x1 convolution that makes the network's only output, by structure alone.

    Args:
        network: Not changed; the meta device will do.
        patch_shape: (Z, Y, X) that the network can take.
        input_channels: C; None takes the input channels of the network's first convolution.

    Returns:
        None where there is no such layer, or where something follows it.

    Raises:
        SpecError: The network cannot take such a patch.
    """
    return _head_of(trace(network, patch_shape, input_channels))


def split_head(
    network: nn.Module, patch_shape: Sequence[int] = ANY_PATCH_SHAPE, input_channels: int | None = None
) -> Head | None:
    """Take the last 1x1x1 convolution off, in place, so that the network returns features instead of logits.

    The result is tried on a small random patch before it is trusted; a network on the meta device has no values and
    is judged by its structure alone.

    Args:
        network: From (B, C, Z, Y, X) to one tensor; changed in place where a head is returned.
        patch_shape: (Z, Y, X) that the network can take.
        input_channels: C; None takes the input channels of the network's first convolution.

    Returns:
        The head, with ``head(features)`` equal to the former output; None where the network does not end in such a
        convolution (several outputs, an activation after it, ...), and nothing has been changed then.

    Raises:
        SpecError: The network cannot take such a patch, or what it makes of it are no numbers.
    """
    forward_pass = trace(network, patch_shape, input_channels)
    path = _head_of(forward_pass)
    if path is None:
        return None
    conv = network.get_submodule(path)
    weight = conv.weight.detach().flatten(1)
    head = Head(weight, weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.detach(), path)
    identity = nn.Identity()
    if weight.is_meta:
        replace_modules(network, {conv: identity})
        return head
    with _evaluating(network):
        patch = _small_patch(network, forward_pass, patch_shape)
        expected = network(patch)
        if not expected.isfinite().all():
            raise SpecError("the network makes NaN or infinity of a patch of random numbers: its training diverged")
        replace_modules(network, {conv: identity})
        logits = head(network(patch))
    if logits.shape == expected.shape and torch.allclose(logits, expected, rtol=1e-3, atol=1e-3 * _scale(expected)):
        return head
    replace_modules(network, {identity: conv})
    return None


def _head_of(forward_pass: Trace) -> str | None:
    """Path of the only head, where it makes the only output and runs once."""
    heads = forward_pass.heads
    alone = len(heads) == len(forward_pass.output_shapes) == 1 and len(forward_pass.calls_of(heads[0])) == 1
    return heads[0] if alone else None


def _small_patch(network: nn.Module, forward_pass: Trace, patch_shape: Sequence[int]) -> Tensor:
    """A random patch so small that the coarsest feature map has two voxels, where the network's strides allow it.

    Two, not one: instance normalization of a single voxel is zero whatever the network computes.
    """
    input_shape = forward_pass.calls_of(forward_pass.stem)[0].input_shape
    shapes = [call.output_shape for call in forward_pass.calls if len(call.output_shape) == 5]
    coarsest = [min(shape[axis] for shape in shapes) for axis in (2, 3, 4)]
    small = [size // coarse if coarse > 1 else size for size, coarse in zip(patch_shape, coarsest, strict=True)]
    if coarsest[-1] > 1:
        small[-1] *= 2
    small = getattr(network, "patch_shape", small)  # of a network that takes no others
    weight = network.get_submodule(forward_pass.stem).weight
    generator = torch.Generator().manual_seed(0)  # its own, so that the caller's random numbers stay as they are
    return torch.randn(1, input_shape[1], *small, generator=generator, device="cpu").to(weight)


def _scale(values: Tensor) -> float:
    return float(values.abs().max())


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every module is back in its own mode."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training
