"""Which tensors the convolutions of a network read, and whether their channels may be scaled.

A tensor that several convolutions read is rounded once for all of them, and the parts of a concatenation are rounded
apart, each with the range of the layer that makes it. A normalization's gain and shift, or the weight of a convolution
without normalization behind it, may be divided by a factor per channel where every reader of the channels is a
convolution whose weight takes the factor on: activations as LeakyReLU are homogeneous, pooling is linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from ..layers import CONVOLUTIONS
from ..trace import NORMS, run_on_shapes, structure_of

_SCALED_NORMS = (nn.modules.instancenorm._InstanceNorm, nn.modules.batchnorm._BatchNorm)
_PASSING = ("leaky_relu", "relu", "dropout", "dropout3d", "avg_pool3d", "max_pool3d")  # as are those in place
_WITHOUT_VALUES = ("new_empty", "empty_like")


@dataclass(frozen=True)
class Reader:
    """A convolution that reads channels.

    Attributes:
        path: Of the convolution.
        part: Which part of its input they are, counted from 0.
        offset: The first of them among its input channels.
    """

    path: str
    part: int
    offset: int


@dataclass
class Source:
    """Channels that are read together.

    Attributes:
        maker: Path of the normalization or convolution that makes them; of those that an operation makes a name that
            no layer has.
        channels: Their number.
        readers: In the order of the pass.
        is_scalable: Whether they may be divided by a factor each.
    """

    maker: str
    channels: int
    readers: list[Reader] = field(default_factory=list)
    is_scalable: bool = True


def sources_of(network: nn.Module, patch_shape: Sequence[int], input_channels: int | None = None) -> list[Source]:
    """All tensors that convolutions read, in the order in which they are made.

    Args:
        network: From (B, C, Z, Y, X) to a tensor or a list of tensors; not touched.
        patch_shape: (Z, Y, X) that the network can take.
        input_channels: C; None takes the input channels of the network's first convolution.

    Raises:
        SpecError: The network cannot take such a patch.
    """
    structure = structure_of(network).eval()
    flow = _Flow({module: path for path, module in structure.named_modules()})
    for output in run_on_shapes(structure, patch_shape, input_channels, flow.record, flow):
        flow.fix(output)
    return [source for source in flow.sources if source.readers]


class _Flow(TorchFunctionMode):
    """Follows tensors by their parts, from the layer that makes them to those that read them."""

    def __init__(self, names: dict[nn.Module, str]):
        super().__init__()
        self._names = names
        self.sources: list[Source] = []
        self._makers: dict[str, Source] = {}
        self._parts: dict[int, list[Source]] = {}
        self._alive: list[Tensor] = []  # an id is only unique while its tensor lives

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        known = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and id(leaf) in self._parts]
        if not known or not any(isinstance(leaf, Tensor) for leaf in tree_leaves(result)):
            return result
        name = getattr(function, "__name__", "")
        if name.rstrip("_") in _PASSING and isinstance(result, Tensor):
            self._bind(result, self._parts[id(known[0])])
        elif name == "cat" and len(known) == len(args[0]) and kwargs.get("dim", (*args, 0)[1]) in (1, -4):
            self._bind(result, [source for tensor in args[0] for source in self._parts[id(tensor)]])
        elif name not in _WITHOUT_VALUES:
            for tensor in known:
                self.fix(tensor)
            for tensor in tree_leaves(result):
                self._parts.pop(id(tensor), None)  # computed in place: what it was is gone
        return result

    def record(self, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        """A layer has read a tensor and made another."""
        path, values = self._names[module], inputs[0]
        if isinstance(module, CONVOLUTIONS):
            self._read(path, module, values)
        else:
            self.fix(values)  # a normalization takes a factor away again: nothing is gained by one before it
        source = self._makers.get(path)
        if source is None:
            source = self._makers[path] = self._made(path, output)
        else:
            source.is_scalable = False  # it runs several times
        is_scaled_norm = isinstance(module, _SCALED_NORMS) and module.weight is not None
        if isinstance(module, NORMS) and not is_scaled_norm:
            source.is_scalable = False
        self._bind(output, [source])

    def fix(self, tensor: Tensor) -> None:
        """Note that something reads a tensor through which no factor passes."""
        for source in self._parts.get(id(tensor), []):
            source.is_scalable = False

    def _read(self, path: str, conv: nn.Module, values: Tensor) -> None:
        if id(values) not in self._parts:
            source = self._made(f"#{len(self.sources)}", values)
            source.is_scalable = False
            self._bind(values, [source])
        offset = 0
        for part, source in enumerate(self._parts[id(values)]):
            source.readers.append(Reader(path, part, offset))
            source.is_scalable &= conv.groups == 1
            offset += source.channels

    def _made(self, maker: str, tensor: Tensor) -> Source:
        self.sources.append(Source(maker, tensor.shape[1]))
        return self.sources[-1]

    def _bind(self, tensor: Tensor, parts: list[Source]) -> None:
        self._parts[id(tensor)] = parts
        self._alive.append(tensor)
