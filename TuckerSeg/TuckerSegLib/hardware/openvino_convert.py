"""A torch network as an OpenVINO model: recorded where that is possible, else through OpenVINO's own converter."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ..errors import BackendError
from .openvino_converters import model_converter
from .openvino_graph import UnknownOperation, record

_SMALLEST_PATCHES = (32, 64, 128)  # voxels per axis; the smallest that survives the network's downsampling is traced


def to_model(
    network: torch.nn.Module,
    shape: Sequence[int],
    output_type: str,
    log: Callable[[str], None],
    channels_last: bool = True,
) -> Any:
    """Convert a network.

    Args:
        network: In eval mode, on the CPU, float32.
        shape: (B, C, Z, Y, X) of the input.
        output_type: ``f32``, ``bf16`` or ``f16``; with the latter two, constants are kept in fp16.
        channels_last: Give (B, Z, Y, X, F), as the features lie in memory, which costs nothing; else (B, F, Z, Y, X).

    Returns:
        ``openvino.Model`` from (B, C, Z, Y, X). It may share memory with the network, so the network must live until
        the model is compiled or saved.

    Raises:
        BackendError: Neither way works.
    """
    try:
        features, patch = record(network, shape, exact_statistics=output_type == "f32")
        return _finish(features, [patch], output_type, channels_last)
    except UnknownOperation as error:
        log(f"The network uses {error}; it is traced, which takes longer.")
    features, parameters = _trace(network, shape)
    return _finish(features, parameters, output_type, channels_last)


def _trace(network: torch.nn.Module, shape: Sequence[int]) -> tuple[Any, list]:
    failure: Exception | None = None
    sides = _SMALLEST_PATCHES if getattr(network, "patch_shape", None) is None else ()  # else it takes no other
    for size in (*sides, max(shape[2:])):
        small = [shape[0], shape[1], *(min(size, full) for full in shape[2:])]
        try:
            with torch.inference_mode(), warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", torch.jit.TracerWarning
                )  # shapes are fixed, and so is what hangs on them
                traced = torch.jit.trace(network, torch.rand(small), check_trace=False)  # the check doubles the time
            model = model_converter()(traced, input=[small])
            model.reshape(list(shape))
            break
        except (RuntimeError, ValueError) as error:
            failure = error
    else:
        raise BackendError(f"OpenVINO cannot convert this network ({failure}). Take another device, such as torch:cpu.")
    return model.get_results()[0].input_value(0), model.get_parameters()


def _finish(features: Any, parameters: list, output_type: str, channels_last: bool) -> Any:
    import openvino
    from openvino import opset8 as ops

    if output_type != "f32":
        features = ops.convert(features, output_type)
    if channels_last:
        features = ops.transpose(features, np.array([0, 2, 3, 4, 1]))
    model = openvino.Model([ops.result(features)], parameters, "patch_network")
    if output_type != "f32" and not any(node.get_type_name() == "FakeQuantize" for node in model.get_ops()):
        _halve_constants(model)  # steps of ranges and factors of whole numbers need their precision
    return model


def _halve_constants(model: Any) -> None:
    """Keep weights in 16 bits, as they are computed with anyway.

    OpenVINO holds what it was given beside what it computes with, and writes that to disk. Constants beyond the range
    of fp16 stay as they are.
    """
    try:
        # What openvino.save_model does to a model that it writes; without a file there is no other name for it.
        from openvino._offline_transformations import compress_model_transformation
    except ImportError:  # a convenience, of memory alone
        return
    compress_model_transformation(model)
