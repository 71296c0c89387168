"""Network to OpenVINO graph, by recording what the network's forward calls, with exact rewrites on the way.

The network runs once on shape-only tensors; every call of a torch function becomes one OpenVINO operation. That takes
a fraction of a second where tracing takes several, and lets products of linear steps be merged while they are seen.
Only the operations of nnU-Net's convolutional networks are known; anything else is :class:`UnknownOperation`, and the
caller falls back to OpenVINO's own converter. It knows nothing of devices, precision or files.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .openvino_norm import instance_norm
from .openvino_quantization import WholeWeights, fake_quantize


class UnknownOperation(Exception):
    """The network calls an operation that cannot be recorded."""


@dataclass
class _Value:
    """What is known of one recorded tensor.

    Attributes:
        output: OpenVINO node that computes it; None for a concatenation that nobody has asked for yet.
        parts: The concatenated values, if it is a concatenation along the channels.
        linear: (input, weight (O, I), bias (O,) or None) if it is a 1x1x1 convolution.
    """

    output: Any = None
    parts: tuple[_Value, ...] = ()
    channels: int = 0
    linear: tuple[_Value, Tensor, Tensor | None] | None = None


def record(network: nn.Module, shape: Sequence[int], exact_statistics: bool) -> tuple[Any, Any]:
    """Record a network as OpenVINO nodes of fixed shape.

    Rewrites, all exact in real arithmetic: a convolution of a concatenation is the sum of one per part (OpenVINO adds
    while it convolves, but copies to concatenate); two 1x1x1 convolutions in a row are one. In a Tucker-compressed
    U-Net that removes the last factor of every transposed convolution together with the concatenation behind it.

    Args:
        network: In eval mode; its parameters on the CPU in float32.
        shape: (B, C, Z, Y, X) of the input.
        exact_statistics: Normalize by :func:`.openvino_norm.instance_norm` instead of OpenVINO's own operation.

    Returns:
        Node of the features, and the parameter node it depends on. Constants share memory with the network.

    Raises:
        UnknownOperation: The forward calls a torch function that is not in the table.
    """
    from openvino import opset8 as ops

    parameter = ops.parameter(list(shape), dtype=np.float32, name="patch")
    recorder = _Recorder(ops, exact_statistics)
    patch = torch.empty(tuple(shape), device="meta")
    recorder.bind(patch, _Value(parameter, channels=shape[1]))
    with torch.inference_mode(), recorder:
        features = network(patch)
    return recorder.node(recorder.value(features)), parameter


class _Recorder(TorchFunctionMode):
    def __init__(self, ops: Any, exact_statistics: bool):
        super().__init__()
        self.ops = ops
        self._exact_statistics = exact_statistics
        self._values: dict[int, _Value] = {}
        self._alive: list[Tensor] = []  # an id is only unique while its tensor lives
        self._whole = WholeWeights(ops)
        self._table: dict[Any, Callable] = {
            F.conv3d: self._convolution,
            torch.conv3d: self._convolution,
            F.conv_transpose3d: self._transposed_convolution,
            torch.conv_transpose3d: self._transposed_convolution,
            F.instance_norm: self._instance_norm,
            F.batch_norm: self._batch_norm,
            F.leaky_relu: self._leaky_relu,
            F.relu: self._relu,
            F.dropout: self._dropout,
            F.dropout3d: self._dropout,
            F.avg_pool3d: self._average_pool,
            torch.cat: self._concatenation,
            torch.fake_quantize_per_tensor_affine: self._fake_quantize,
            Tensor.split: self._split,
            Tensor.add: self._add,
            Tensor.__add__: self._add,
            Tensor.__iadd__: self._add_inplace,
            Tensor.add_: self._add_inplace,
            Tensor.__truediv__: self._divide,
            Tensor.div: self._divide,
        }

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        recorded = self._table.get(function)
        if recorded is not None:
            return recorded(*args, **kwargs)
        if function in (Tensor.mul, Tensor.__mul__) and (whole := self._whole.multiplied(*args)) is not None:
            return whole
        try:
            with torch._C.DisableTorchFunction():
                result = function(*args, **kwargs)
        except RuntimeError as error:  # weights have values, and the patch has none
            raise UnknownOperation(getattr(function, "__name__", str(function))) from error
        # What gives the recorded tensor back, or nothing at all, has changed it in place
        if (isinstance(result, Tensor) or result is None) and any(id(a) in self._values for a in args):
            raise UnknownOperation(getattr(function, "__name__", str(function)))
        return result

    def bind(self, tensor: Tensor, value: _Value) -> Tensor:
        self._values[id(tensor)] = value
        self._alive.append(tensor)
        return tensor

    def value(self, tensor: Tensor) -> _Value:
        if id(tensor) not in self._values:
            raise UnknownOperation("a tensor that was not computed from the patch")
        return self._values[id(tensor)]

    def node(self, value: _Value) -> Any:
        """The OpenVINO node of a value; a concatenation is only made when one is really needed."""
        if value.output is None:
            value.output = self.ops.concat([self.node(part) for part in value.parts], axis=1)
        return value.output

    def _constant(self, tensor: Tensor) -> Any:
        from openvino.op import Constant

        return Constant(np.ascontiguousarray(tensor.detach().numpy()), shared_memory=True)

    def _with_bias(self, node: Any, bias: Tensor | None) -> Any:
        return node if bias is None else self.ops.add(node, self._constant(bias.reshape(1, -1, 1, 1, 1)))

    def _convolution(self, x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        _require(groups == 1 and not isinstance(padding, str), "grouped or named-padding convolution")
        stride, padding, dilation = _triple(stride), _triple(padding), _triple(dilation)
        value, weight, constant = self.value(x), *self._whole.found(weight, self._constant)
        if constant == self._constant and weight.shape[2:] == (1, 1, 1) and stride == [1] * 3 and padding == [0] * 3:
            matrix = weight.flatten(1)
            out = _Value(self._with_bias(self._pointwise(value, matrix), bias), linear=(value, matrix, bias))
        else:
            geometry = (stride, padding, padding, dilation)
            node = self._sum_over_parts(
                value, weight, lambda part, w: self.ops.convolution(self.node(part), constant(w), *geometry)
            )
            out = _Value(self._with_bias(node, bias))
        out.channels = len(weight)
        sizes = zip(x.shape[2:], padding, dilation, weight.shape[2:], stride)
        shape = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in sizes]
        return self.bind(torch.empty((x.shape[0], len(weight), *shape), device="meta"), out)

    def _sum_over_parts(self, value: _Value, weight: Tensor, product: Callable[[_Value, Tensor], Any]) -> Any:
        """Apply an operation that is linear in the input channels to each part of a concatenation not yet made."""
        if not value.parts or value.output is not None:
            return product(value, weight)
        columns = weight.split([part.channels for part in value.parts], dim=1)
        terms = [product(part, part_columns) for part, part_columns in zip(value.parts, columns)]
        return functools.reduce(self.ops.add, terms)

    def _pointwise(self, value: _Value, matrix: Tensor) -> Any:
        """1x1x1 convolution: through concatenations and earlier 1x1x1 convolutions, without bias of its own."""
        if value.parts and value.output is None:
            return self._sum_over_parts(value, matrix, self._pointwise)
        if value.linear is not None and value.linear[1].shape[1] <= value.linear[1].shape[0]:
            inner, inner_matrix, inner_bias = value.linear
            merged = self._pointwise(inner, matrix @ inner_matrix)
            return self._with_bias(merged, None if inner_bias is None else matrix @ inner_bias)
        weight = self._constant(matrix[:, :, None, None, None])
        return self.ops.convolution(self.node(value), weight, [1] * 3, [0] * 3, [0] * 3, [1] * 3)

    def _transposed_convolution(
        self, x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
    ):
        _require(groups == 1, "grouped transposed convolution")
        stride, padding, dilation, extra = _triple(stride), _triple(padding), _triple(dilation), _triple(output_padding)
        node = self.ops.convolution_backprop_data(
            self.node(self.value(x)),
            self._constant(weight),
            stride,
            pads_begin=padding,
            pads_end=padding,
            dilations=dilation,
            output_padding=extra,
        )
        channels = weight.shape[1]
        sizes = zip(x.shape[2:], stride, padding, dilation, weight.shape[2:], extra)
        shape = [(n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, s, p, d, k, e in sizes]
        out = torch.empty((x.shape[0], channels, *shape), device="meta")
        return self.bind(out, _Value(self._with_bias(node, bias), channels=channels))

    def _instance_norm(
        self,
        x,
        running_mean=None,
        running_var=None,
        weight=None,
        bias=None,
        use_input_stats=True,
        momentum=0.1,
        eps=1e-5,
    ):
        if not use_input_stats:
            return self._batch_norm(x, running_mean, running_var, weight, bias, eps=eps)
        node = self.node(self.value(x))
        if self._exact_statistics:
            node = instance_norm(self.ops, node, x.shape[2:], eps)
        else:
            node = self.ops.mvn(node, np.array([2, 3, 4]), True, eps, "inside_sqrt")
        if weight is not None:
            node = self.ops.multiply(node, self._constant(weight.detach().reshape(1, -1, 1, 1, 1)))
        return self._like(x, self._with_bias(node, bias))

    def _batch_norm(self, x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
        """With stored statistics it is one factor and one addend per channel; OpenVINO folds them into convolutions."""
        if training or running_mean is None:
            _require(x.shape[0] == 1, "batch normalization by the statistics of several patches")
            return self._instance_norm(x, weight=weight, bias=bias, eps=eps)  # of one patch it is the same
        factor = (running_var.detach().double() + eps).rsqrt()
        factor = factor if weight is None else factor * weight.detach()
        addend = -running_mean.detach().double() * factor
        addend = addend if bias is None else addend + bias.detach()
        scaled = self.ops.multiply(self.node(self.value(x)), self._constant(factor.float().reshape(1, -1, 1, 1, 1)))
        return self._like(x, self._with_bias(scaled, addend.float()))

    def _like(self, x: Tensor, node: Any, inplace: bool = False) -> Tensor:
        return self.bind(x if inplace else torch.empty(x.shape, device="meta"), _Value(node, channels=x.shape[1]))

    def _leaky_relu(self, x, negative_slope=0.01, inplace=False):
        slope = self.ops.constant(np.array([negative_slope], np.float32))
        return self._like(x, self.ops.prelu(self.node(self.value(x)), slope), inplace)

    def _relu(self, x, inplace=False):
        return self._like(x, self.ops.relu(self.node(self.value(x))), inplace)

    def _dropout(self, x, p=0.5, training=True, inplace=False):
        _require(not training, "dropout of a training")
        return x

    def _average_pool(
        self, x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
    ):
        kernel, stride = _triple(kernel_size), _triple(stride or kernel_size)
        _require(_triple(padding) == [0] * 3 and not ceil_mode and divisor_override is None, "padded average pooling")
        node = self.ops.avg_pool(self.node(self.value(x)), stride, [0] * 3, [0] * 3, kernel, False)
        shape = [(n - k) // s + 1 for n, k, s in zip(x.shape[2:], kernel, stride)]
        return self.bind(torch.empty((*x.shape[:2], *shape), device="meta"), _Value(node, channels=x.shape[1]))

    def _concatenation(self, tensors, dim=0):
        _require(dim in (1, -4), "concatenation along another axis than the channels")
        parts = tuple(self.value(tensor) for tensor in tensors)
        channels = sum(part.channels for part in parts)
        out = torch.empty((tensors[0].shape[0], channels, *tensors[0].shape[2:]), device="meta")
        return self.bind(out, _Value(parts=parts, channels=channels))

    def _fake_quantize(self, x, scale, zero_point, quant_min, quant_max):
        value = self.value(x)
        ends = (quant_min, quant_max, float(scale), int(zero_point))
        rounded = _Value(fake_quantize(self.ops, self.node(value), *ends), channels=value.channels)
        return self.bind(torch.empty(x.shape, device="meta"), rounded)

    def _split(self, x, split_size, dim=0):
        parts, sizes = self.value(x).parts, list(split_size)
        known = dim in (1, -4) and [part.channels for part in parts] == sizes
        _require(known, "a split that is not along the parts of a concatenation")
        shapes = ((x.shape[0], size, *x.shape[2:]) for size in sizes)
        return [self.bind(torch.empty(shape, device="meta"), part) for shape, part in zip(shapes, parts)]

    def _add(self, x, y, alpha=1):
        _require(isinstance(x, Tensor) and isinstance(y, Tensor) and x.shape == y.shape and alpha == 1, "this addition")
        return self._like(x, self.ops.add(self.node(self.value(x)), self.node(self.value(y))))

    def _add_inplace(self, x, y, alpha=1):
        return self.bind(x, self.value(self._add(x, y, alpha)))

    def _divide(self, x, y):
        _require(isinstance(y, (int, float)), "this division")
        return self._like(x, self.ops.divide(self.node(self.value(x)), np.float32(y)))


def _require(condition: bool, operation: str) -> None:
    if not condition:
        raise UnknownOperation(operation)


def _triple(value: int | Sequence[int]) -> list[int]:
    return [int(value)] * 3 if isinstance(value, int) else [int(v) for v in (value * 3 if len(value) == 1 else value)]
