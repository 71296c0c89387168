"""An ONNX file of all folds, and its sidecar. Computed in fp32."""

from __future__ import annotations

import copy
import importlib.util
import inspect
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..compression.int8.layers import QuantizedConv3d
from ..compression.layers import replace_modules
from ..errors import DependencyError, OutputError, SpecError
from ..files.atomic_writes import written_whole
from .checking import require_agreement, sample_patch
from .settings import Exported, ExportSettings
from .sidecar import INPUT_NAME, OUTPUT_NAME, document_of, write_sidecar
from .staging import require_free, staged
from .whole_network import whole_network

if TYPE_CHECKING:
    from ..models.model import SegmentationModel

OPTIONS = ("dynamic_batch", "opset")
OPSET = 17  # old enough for every runtime in use, new enough for all that these networks need
OPSETS = range(13, 21)


def check(model: SegmentationModel, path: Path, settings: ExportSettings) -> None:
    """Refuse an export that cannot succeed, before the model is compressed.

    Raises:
        DependencyError: The package onnx is not installed.
        SpecError: An operator set that is not supported.
        OutputError: The path does not end in .onnx, or the file exists already.
    """
    if path.suffix != ".onnx":
        raise OutputError(f"{path}: an ONNX file's name ends in .onnx.")
    if settings.opset is not None and settings.opset not in OPSETS:
        raise SpecError(f"The opset should lie in {OPSETS.start} to {OPSETS.stop - 1}; found {settings.opset}.")
    if importlib.util.find_spec("onnx") is None:
        raise DependencyError(
            "Writing ONNX needs the Python package onnx, which tuckerseg[export] brings.",
            shell="'pip install tuckerseg[export]' installs it.",
        )
    require_free([path, path.with_suffix(".json")], settings.overwrite)


def export(model: SegmentationModel, path: Path, settings: ExportSettings) -> Exported:
    """Write the network to ``path`` and, beside it, its sidecar of the same name with .json.

    Args:
        model: The original or a compressed model.
        path: The .onnx file.
        settings: Operator set, number of patches per call; whether old files are replaced.

    Raises:
        OutputError: The files cannot be written, or onnxruntime computes something else than the model.
    """
    check(model, path, settings)
    network, patch = whole_network(model), sample_patch(model)
    names = [path.with_suffix(".json").name, path.name]
    with staged(path.parent, names) as folder:
        _write(network, patch, folder / path.name, settings)
        difference = _check_written(network, patch, folder / path.name)
        write_sidecar(folder / names[0], document_of(model, path.name, "fp32", bool(settings.dynamic_batch)))
    return Exported(path, tuple(path.with_name(name) for name in reversed(names)), difference)


class ExactInstanceNorm(nn.Module):
    """Instance normalization of (B, C, Z, Y, X) whose sums stay exact.

    onnxruntime's own operator adds a channel's voxels one by one in fp32. Over a million voxels the sum outgrows its
    addends; means of means do not have that fault.
    """

    def __init__(self, norm: nn.InstanceNorm3d):
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, values: Tensor) -> Tensor:
        """Normalize each channel of (B, C, Z, Y, X) to mean 0 and variance 1 over its voxels; scale and shift it."""
        centered = values - _mean(values)
        values = centered / torch.sqrt(_mean(centered * centered) + self.eps)
        if self.weight is None:
            return values
        return values * self.weight[:, None, None, None] + self.bias[:, None, None, None]


class WholeWeight(torch.autograd.Function):
    """A weight of whole numbers times a factor per output channel, which the file holds as whole numbers."""

    @staticmethod
    def forward(context: Any, whole: Tensor, factors: Tensor) -> Tensor:
        """The weight (O, I, kz, ky, kx) of whole numbers of its shape and factors (O,)."""
        return whole * factors[:, None, None, None, None]

    @staticmethod
    def symbolic(graph: Any, whole: Any, factors: Any) -> Any:
        """The same in ONNX."""
        return graph.op("DequantizeLinear", whole, factors, axis_i=0)


class WholeConvolution(nn.Module):
    """A quantized convolution as ONNX writes it."""

    def __init__(self, layer: QuantizedConv3d):
        super().__init__()
        self.layer = layer

    def forward(self, values: Tensor) -> Tensor:
        """(B, I, Z, Y, X) to (B, O, Z, Y, X)."""
        return self.layer.convolved(values, WholeWeight.apply(self.layer.weight, self.layer.weight_scale))


def _mean(values: Tensor) -> Tensor:
    """Mean of each channel, (B, C, 1, 1, 1), taken axis by axis."""
    for axis in (4, 3, 2):
        values = values.mean(axis, keepdim=True)
    return values


def _write(network: nn.Module, patch: Tensor, path: Path, settings: ExportSettings) -> None:
    exact = copy.deepcopy(network)
    norms = [module for module in exact.modules() if isinstance(module, nn.InstanceNorm3d)]
    replaced = {norm: ExactInstanceNorm(norm) for norm in norms if not norm.track_running_stats}
    replaced |= {each: WholeConvolution(each) for each in exact.modules() if isinstance(each, QuantizedConv3d)}
    replace_modules(exact, replaced)
    batch = {name: {0: "batch"} for name in (INPUT_NAME, OUTPUT_NAME)} if settings.dynamic_batch else None
    # The newer exporter needs packages more and gives the same graph; before torch 2.5 there was no other than this.
    older = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    with written_whole(path) as beside, warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            exact,
            (patch,),
            str(beside),
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_axes=batch,
            opset_version=settings.opset or OPSET,
            **older,
        )


def _check_written(network: nn.Module, patch: Tensor, path: Path) -> float | None:
    """Run the written file and compare it with the network; None where onnxruntime is not installed."""
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    logits = session.run([OUTPUT_NAME], {INPUT_NAME: patch.numpy()})[0]
    with torch.inference_mode():
        expected = network(patch).numpy()
    return require_agreement(logits, expected, "fp32", "onnxruntime")
