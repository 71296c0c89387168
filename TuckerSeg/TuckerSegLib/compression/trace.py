"""One forward pass without weights or data: which layers run, in which order, on which shapes.

A pass with a batch of no patches has all shapes but the batch's and no values, so it takes milliseconds at any patch
shape. The weights of the copy that runs occupy one number each, and the real ones are never touched. (torch's meta
device would serve too, but its first use in a process loads much of torch's compiler, which takes more than a second.)
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from ..errors import SpecError
from .layers import convolutions

NORMS = (
    nn.modules.instancenorm._InstanceNorm,
    nn.modules.batchnorm._BatchNorm,
    nn.GroupNorm,
    nn.LayerNorm,
)
COUNTED = (nn.modules.conv._ConvNd, nn.Linear, *NORMS)
# Divisible by every power of two that a network of up to nine stages asks for; a traced pass costs nothing. A network
# that takes patches of one shape alone, which it says by its attribute ``patch_shape``, is given those instead.
ANY_PATCH_SHAPE = (256, 256, 256)
# What multiplies two matrices neither of which need be a weight: the two products of attention, in one or two calls.
_ATTENTION = frozenset(("scaled_dot_product_attention",))
_PRODUCTS = frozenset(("matmul", "__matmul__", "bmm"))


@dataclass(frozen=True)
class Call:
    """One run of one layer. Shapes are (1, C, ...)."""

    path: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


@dataclass(frozen=True)
class Trace:
    """The record of a forward pass of one patch.

    Attributes:
        calls: Convolutions, linear and normalization layers in the order in which they run.
        parameters: Module path to its number of parameters that take part in the pass; each parameter is counted
            once, at the first module that holds it.
        weight_bits: Module path to the bits of these parameters.
        unused: Paths of modules that own parameters none of which takes part.
        stem: Path of the first convolution that runs, or None.
        heads: Paths of the 1x1x1 convolutions whose output is, untouched, an output of the network.
        output_shapes: Shapes (1, L, Z, Y, X) of the network's outputs.
        product_macs: Path of the innermost module to multiply-accumulates of products of two activations in it, as
            attention makes them.
        attention_weights: Weights that attention computes of queries and keys, in all.
    """

    calls: tuple[Call, ...]
    parameters: dict[str, int]
    weight_bits: dict[str, int]
    unused: tuple[str, ...]
    stem: str | None
    heads: tuple[str, ...]
    output_shapes: tuple[tuple[int, ...], ...]
    product_macs: dict[str, int] = field(default_factory=dict)
    attention_weights: int = 0

    def calls_of(self, path: str) -> list[Call]:
        """The runs of one layer, in order; none where it takes no part in the pass."""
        return [call for call in self.calls if call.path == path]


def structure_of(network: nn.Module) -> nn.Module:
    """A copy of a network's structure on the CPU, aliases included, whose weights occupy one number each.

    Shapes and types are the network's; no real weight is copied.
    """
    tensors = [*network.parameters(), *network.buffers()]
    # deepcopy takes what the memo holds for an object instead of copying the object.
    memo = {id(tensor): _without_memory(tensor) for tensor in tensors}
    return copy.deepcopy(network, memo)


def trace(network: nn.Module, patch_shape: Sequence[int], input_channels: int | None = None) -> Trace:
    """Run a forward pass on shapes alone and record it as that of one patch.

    Args:
        network: Any module from (B, C, Z, Y, X) to a tensor or a list of tensors; not touched.
        patch_shape: (Z, Y, X) in voxels.
        input_channels: C; None takes the input channels of the network's first convolution.

    Raises:
        SpecError: The network cannot take such a patch.
    """
    structure = structure_of(network).eval()
    names = {module: path for path, module in structure.named_modules()}
    calls, outputs_of_layers, watched = [], [], _Operations(structure)

    def record(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        calls.append(Call(names[module], _of_one_patch(inputs[0]), _of_one_patch(output)))
        outputs_of_layers.append((module, output, output._version))
        watched.parameters.update(map(id, module.parameters()))  # a codebook below it, too

    outputs = run_on_shapes(structure, patch_shape, input_channels, record, watched)
    parameters, unused = _parameters_by_module(structure, watched.parameters)
    counts = {path: sum(each.numel() for each in in_use) for path, in_use in parameters.items()}
    bits = {path: sum(8 * each.numel() * each.element_size() for each in in_use) for path, in_use in parameters.items()}
    convs = [call.path for call in calls if isinstance(structure.get_submodule(call.path), nn.modules.conv._ConvNd)]
    return Trace(
        calls=tuple(calls),
        parameters=counts,
        weight_bits=bits,
        unused=unused,
        stem=convs[0] if convs else None,
        heads=tuple(
            names[module] for module, output, version in outputs_of_layers if _is_head(module, output, version, outputs)
        ),
        output_shapes=tuple(map(_of_one_patch, outputs)),
        product_macs={names[module]: macs for module, macs in watched.product_macs.items()},
        attention_weights=watched.attention_weights,
    )


def run_on_shapes(
    structure: nn.Module,
    patch_shape: Sequence[int],
    input_channels: int | None,
    record: Callable[[nn.Module, tuple, torch.Tensor], None],
    watching: TorchFunctionMode,
) -> list[torch.Tensor]:
    """Run a batch of no patches through a network whose layers compute shapes alone.

    Args:
        structure: From :func:`structure_of`, in evaluation mode; gets hooks and is of no use afterwards.
        patch_shape: (Z, Y, X) in voxels.
        input_channels: C; None takes the input channels of the network's first convolution.
        record: Called after each convolution, linear and normalization layer with it, its inputs and its output.
        watching: Active during the pass; sees every torch operation but those of convolutions and normalizations.

    Returns:
        The network's outputs, (0, L, Z, Y, X) each.

    Raises:
        SpecError: The network cannot take such a patch.
    """
    channels = input_channels or next(conv.in_channels for conv in convolutions(structure).values())
    if patch_shape is ANY_PATCH_SHAPE:
        patch_shape = getattr(structure, "patch_shape", ANY_PATCH_SHAPE)
    for module in structure.modules():
        if isinstance(module, COUNTED):
            module.register_forward_hook(record)
        if isinstance(module, (nn.modules.conv._ConvNd, *NORMS)):
            module.forward = functools.partial(_output_without_values, module)
    try:
        with torch.inference_mode(False), torch.no_grad(), watching:
            return tree_leaves(structure(torch.empty(0, channels, *patch_shape, device="cpu")))
    except (RuntimeError, ValueError) as error:
        raise SpecError(
            f"the network cannot take a patch of shape {tuple(patch_shape)} with {channels} channels: {error}"
        ) from error


class _Operations(TorchFunctionMode):
    """Notes every parameter that a torch operation gets as an argument, and what products of activations cost.

    Args:
        structure: The network that will run; gets hooks.

    Attributes:
        parameters: Identities of the parameters.
        product_macs: Module to multiply-accumulates for one patch of the products that it makes itself.
        attention_weights: Of one patch, in all.
    """

    def __init__(self, structure: nn.Module) -> None:
        super().__init__()
        self.parameters: set[int] = set()
        self.product_macs: dict[nn.Module, int] = {}
        self.attention_weights = 0
        self._running: list[nn.Module] = []
        for module in structure.modules():
            module.register_forward_pre_hook(lambda running, inputs: self._running.append(running))
            module.register_forward_hook(self._end)

    def _end(self, module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        self._running.pop()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        if name != "__get__":  # looking at a shape or dtype is no use
            self.parameters.update(id(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, nn.Parameter))
        output = func(*args, **kwargs)
        if self._running and (name in _ATTENTION or name in _PRODUCTS):
            macs = _attention_macs(*args[:3]) if name in _ATTENTION else output.shape[1:].numel() * args[0].shape[-1]
            if name in _ATTENTION:
                self.attention_weights += math.prod(args[0].shape[1:-1]) * args[1].shape[-2]
            module = self._running[-1]
            self.product_macs[module] = self.product_macs.get(module, 0) + macs
        return output


def _attention_macs(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> int:
    """Of one patch: queries (B, heads, N, channels) with keys, and the weights that come of it with values."""
    return math.prod(queries.shape[1:-1]) * keys.shape[-2] * (queries.shape[-1] + values.shape[-1])


def _output_without_values(module: nn.Module, values: torch.Tensor) -> torch.Tensor:
    """What a convolution or normalization layer returns, as far as its shape goes."""
    if isinstance(module, NORMS):
        return values.new_empty(values.shape)
    if values.ndim != 2 + len(module.kernel_size) or values.shape[1] != module.in_channels:
        raise ValueError(f"a layer expects {module.in_channels} channels, found shape {tuple(values.shape)}")
    sizes = [_output_size(module, axis, size) for axis, size in enumerate(values.shape[2:])]
    if min(sizes) < 1:
        raise ValueError(f"a layer's input of shape {tuple(values.shape)} is too small")
    return values.new_empty(values.shape[0], module.out_channels, *sizes)


def _output_size(conv: nn.Module, axis: int, size: int) -> int:
    """Length of a convolution's output along one axis, as torch's documentation of Conv3d gives it."""
    stride = conv.stride[axis]
    reach = conv.dilation[axis] * (conv.kernel_size[axis] - 1)
    if isinstance(conv.padding, str):
        return size if conv.padding == "same" else (size - reach - 1) // stride + 1
    padding = 2 * conv.padding[axis]
    if conv.transposed:
        return (size - 1) * stride - padding + reach + conv.output_padding[axis] + 1
    return (size + padding - reach - 1) // stride + 1


def _without_memory(tensor: torch.Tensor) -> torch.Tensor:
    single = torch.zeros((), dtype=tensor.dtype, device="cpu").expand(tensor.shape)
    return nn.Parameter(single, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else single


def _of_one_patch(values: torch.Tensor) -> tuple[int, ...]:
    return (1, *values.shape[1:])


def _parameters_by_module(
    structure: nn.Module, identities: set[int]
) -> tuple[dict[str, list[nn.Parameter]], tuple[str, ...]]:
    """Module path to the parameters in use, each at the first module that holds it; and paths of unused modules."""
    by_module, unused, counted = {}, [], set()
    for path, module in structure.named_modules():
        own = list(module.parameters(recurse=False))
        used = [parameter for parameter in own if id(parameter) in identities]
        if own and not used:
            unused.append(path)
        if used:
            by_module[path] = [parameter for parameter in used if id(parameter) not in counted]
            counted.update(id(parameter) for parameter in used)
    return by_module, tuple(unused)


def _is_head(module: nn.Module, output: torch.Tensor, version: int, outputs: list[torch.Tensor]) -> bool:
    pointwise = isinstance(module, nn.Conv3d) and set(module.kernel_size) == set(module.stride) == {1}
    # An operation in place (an activation after the head) leaves the object the same and raises its version.
    untouched = output._version == version
    return pointwise and module.groups == 1 and untouched and any(output is final for final in outputs)
