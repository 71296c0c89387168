"""Which convolutions read which output channels of which others, and whose outputs may be left out.

One pass on shapes alone follows every channel from the convolution that makes it through normalization, activation,
dropout, pooling and concatenation to the convolutions that read it. Where channels meet an operation that ties them to
others (a residual sum, a squeeze) or leave the network, the convolution keeps all of them. What is not known to work
on each channel alone counts as such an operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from .layers import CONVOLUTIONS
from .trace import ANY_PATCH_SHAPE, run_on_shapes, structure_of

_PER_CHANNEL_NORMS = (nn.modules.instancenorm._InstanceNorm, nn.modules.batchnorm._BatchNorm)
# Functions that work on each channel alone, without weights; in place they end with an underscore.
_CHANNELWISE = frozenset(
    (
        *("leaky_relu", "relu", "relu6", "elu", "selu", "celu", "gelu", "silu", "mish", "hardtanh", "hardswish"),
        *("softplus", "sigmoid", "tanh", "clamp", "dropout", "dropout1d", "dropout2d", "dropout3d"),
        *("feature_dropout", "alpha_dropout", "avg_pool3d", "max_pool3d", "adaptive_avg_pool3d"),
        *("adaptive_max_pool3d", "interpolate", "upsample_nearest3d", "upsample_trilinear3d"),
        *("contiguous", "clone", "detach", "to", "float", "half", "type"),
    )
)
_CONCATENATIONS = frozenset(("cat", "concat", "concatenate"))
_WITHOUT_VALUES = frozenset(("new_empty", "new_zeros", "new_ones", "empty_like", "zeros_like", "ones_like"))
_SUMS = frozenset(("add", "__add__", "__iadd__", "__radd__"))


@dataclass(frozen=True)
class Reader:
    """A layer that takes channels in.

    Attributes:
        path: Of the layer, the first of its aliases.
        offset: Its input channel at which they begin.
    """

    path: str
    offset: int


@dataclass(frozen=True)
class ChannelGroup:
    """The output channels of one convolution, any of which may be left out.

    Attributes:
        producer: Path of the convolution, the first of its aliases.
        channels: Their number.
        readers: Convolutions that read them, in the order in which they run.
        norms: Normalization layers that they pass.
    """

    producer: str
    channels: int
    readers: tuple[Reader, ...]
    norms: tuple[Reader, ...]


@dataclass(frozen=True)
class ChannelGraph:
    """All convolutions of a network that run.

    Attributes:
        groups: Path of a convolution to its output channels, where they may be left out; in the order of the pass.
        kept_whole: Path of every other convolution to the reason why its outputs all stay.
    """

    groups: dict[str, ChannelGroup]
    kept_whole: dict[str, str]


# One tensor's channels in order: of each run of them the convolution that made it (None: nobody known), and how many.
_Segments = tuple[tuple[str | None, int], ...]


def channel_graph(
    network: nn.Module, patch_shape: Sequence[int] = ANY_PATCH_SHAPE, input_channels: int | None = None
) -> ChannelGraph:
    """Follow the channels of a network through a forward pass without values.

    Args:
        network: From (B, C, Z, Y, X) to a tensor or several; not touched, the meta device will do.
        patch_shape: (Z, Y, X) that the network can take.
        input_channels: C; None takes the input channels of the network's first convolution.

    Raises:
        SpecError: The network cannot take such a patch.
    """
    structure = structure_of(network).eval()
    names = {module: path for path, module in structure.named_modules()}
    follower = _Follower()

    def record(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        follower.layer(names[module], module, inputs[0], output)

    for output in run_on_shapes(structure, patch_shape, input_channels, record, follower):
        follower.tie([output], "it is an output of the network")
    return follower.graph()


class _Follower(TorchFunctionMode):
    """Knows of every tensor of a pass which convolution made which of its channels."""

    def __init__(self) -> None:
        super().__init__()
        self._segments: dict[int, _Segments] = {}
        self._alive: list[torch.Tensor] = []  # so that no identity is given twice
        self._channels: dict[str, int] = {}
        self._readers: dict[str, list[Reader]] = {}
        self._norms: dict[str, list[Reader]] = {}
        self._norms_run: set[str] = set()
        self._reasons: dict[str, str] = {}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        plain = name if name.startswith("__") else name.rstrip("_")
        outputs = [leaf for leaf in tree_leaves(output) if isinstance(leaf, torch.Tensor)]
        known = [leaf for leaf in tree_leaves((args, kwargs)) if id(leaf) in self._segments]
        if not outputs or not known or plain in _WITHOUT_VALUES:
            return output
        if plain in _CHANNELWISE and len(known) == 1 and outputs[0].shape[1:2] == known[0].shape[1:2]:
            self._know(outputs[0], self._segments[id(known[0])])
        elif plain in _CONCATENATIONS and _dimension(args, kwargs) in (1, 1 - outputs[0].ndim):
            parts = args[0] if args else kwargs["tensors"]
            self._know(outputs[0], tuple(segment for part in parts for segment in self._segments_of(part)))
        else:
            words = "it is added to another" if plain in _SUMS else f"it goes through {plain or 'an operation'}"
            self.tie(known, words)
            for each in outputs:
                self._know(each, _unknown(each))
        return output

    def layer(self, path: str, module: nn.Module, values: torch.Tensor, output: torch.Tensor) -> None:
        """Note the run of a layer."""
        segments = self._segments_of(values)
        if isinstance(module, _PER_CHANNEL_NORMS):
            if path in self._norms_run:
                self.tie([values], "a normalization that it passes runs more than once")
            self._norms_run.add(path)
            self._read(path, segments, self._norms)
            self._know(output, segments)
            return
        if not isinstance(module, CONVOLUTIONS):
            self.tie([values], f"it goes through {type(module).__name__}")
            self._know(output, _unknown(output))
            return
        self._know(output, ((path, module.out_channels),))
        if path in self._channels:
            self.tie([values, output], "it is read or made by a layer that runs more than once")
        if module.groups > 1:
            self.tie([values, output], "it is read or made by a grouped convolution")
        if not module.weight.is_floating_point():
            self.tie([values, output], "it is read or made by a layer of whole numbers")
        self._channels[path] = module.out_channels
        self._read(path, segments, self._readers)

    def tie(self, tensors: Sequence[torch.Tensor], reason: str) -> None:
        """Let all convolutions that made channels of these tensors keep all their outputs."""
        for tensor in tensors:
            for source, _ in self._segments_of(tensor):
                if source is not None:
                    self._reasons.setdefault(source, reason)

    def graph(self) -> ChannelGraph:
        """What was seen."""
        for path in self._channels:
            readers = [reader.path for reader in self._readers.get(path, ())]
            if not readers:
                self._reasons.setdefault(path, "no convolution reads it")
            if len(set(readers)) < len(readers):
                self._reasons.setdefault(path, "a convolution reads it twice")
        groups = {
            path: ChannelGroup(path, channels, tuple(self._readers[path]), tuple(self._norms.get(path, ())))
            for path, channels in self._channels.items()
            if path not in self._reasons
        }
        return ChannelGraph(groups, {path: self._reasons[path] for path in self._channels if path in self._reasons})

    def _segments_of(self, tensor: torch.Tensor) -> _Segments:
        return self._segments.get(id(tensor), _unknown(tensor))

    def _know(self, tensor: torch.Tensor, segments: _Segments) -> None:
        self._alive.append(tensor)
        self._segments[id(tensor)] = segments

    def _read(self, path: str, segments: _Segments, notes: dict[str, list[Reader]]) -> None:
        offset = 0
        for source, channels in segments:
            if source is not None:
                notes.setdefault(source, []).append(Reader(path, offset))
            offset += channels


def _unknown(tensor: torch.Tensor) -> _Segments:
    return ((None, tensor.shape[1] if tensor.ndim > 1 else 0),)


def _dimension(args: tuple, kwargs: dict) -> int:
    """Along which dimension tensors are concatenated."""
    return kwargs.get("dim", args[1] if len(args) > 1 else 0)
