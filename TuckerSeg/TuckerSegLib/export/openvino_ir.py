"""OpenVINO's own files (.xml and .bin) of all folds, and their sidecar."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..errors import OutputError
from ..files.atomic_writes import written_whole
from ..hardware.openvino_convert import to_model
from .checking import require_agreement, sample_patch
from .settings import Exported, ExportSettings
from .sidecar import INPUT_NAME, OUTPUT_NAME, document_of, write_sidecar
from .staging import require_free, staged
from .whole_network import whole_network

if TYPE_CHECKING:
    from ..models.model import SegmentationModel

OPTIONS = ("weights",)


def check(model: SegmentationModel, path: Path, settings: ExportSettings) -> None:
    """Refuse an export that cannot succeed, before the model is compressed.

    Raises:
        OutputError: The path does not end in .xml, or a file exists already.
    """
    if path.suffix != ".xml":
        raise OutputError(
            f"{path}: the name of an OpenVINO model ends in .xml; its weights go to the same name in .bin."
        )
    require_free([path.with_suffix(ending) for ending in (".xml", ".bin", ".json")], settings.overwrite)


def export(model: SegmentationModel, path: Path, settings: ExportSettings) -> Exported:
    """Write the network to ``path`` and, beside it, its weights (.bin) and its sidecar (.json).

    Args:
        model: The original or a compressed model.
        path: The .xml file.
        settings: Precision of the weights; whether old files are replaced.

    Raises:
        OutputError: The files cannot be written, or OpenVINO computes something else than the model.
        BackendError: OpenVINO cannot convert the network.
    """
    import openvino

    check(model, path, settings)
    weights = settings.weights or "fp32"
    network, patch = whole_network(model), sample_patch(model)
    names = [path.with_suffix(ending).name for ending in (".bin", ".json", ".xml")]
    with staged(path.parent, names) as folder:
        converted = to_model(network, tuple(patch.shape), "f32", warnings.warn, channels_last=False)
        converted.input(0).get_tensor().set_names({INPUT_NAME})
        converted.output(0).get_tensor().set_names({OUTPUT_NAME})
        with written_whole(folder / path.name) as beside:  # and its weights, in the same folder
            openvino.save_model(converted, beside, compress_to_fp16=weights == "fp16")
        del converted
        difference = _check_written(network, patch, folder / path.name, weights)
        write_sidecar(folder / names[1], document_of(model, path.name, weights, dynamic_batch=False))
    return Exported(path, tuple(path.with_name(name) for name in reversed(names)), difference)


def _check_written(network: nn.Module, patch: Tensor, path: Path, weights: str) -> float:
    """Run the written files and compare them with the network."""
    import openvino

    # Explicit: left out, OpenVINO takes bf16 wherever the processor has it.
    compiled: Any = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    logits = compiled({INPUT_NAME: patch.numpy()})[OUTPUT_NAME]
    with torch.inference_mode():
        expected = network(patch).numpy()
    return require_agreement(logits, expected, weights, "OpenVINO")
