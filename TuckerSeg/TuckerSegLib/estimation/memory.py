"""Predicts how much main memory a run needs at most, by counting, and by measured factors where counting cannot tell.

Calibrated under Linux on four networks (5.6 to 31 million parameters, one and two folds, original and compressed),
volumes of 3 to 157 million voxels and two processor backends: from 9 % too little, in the first run of a model, which
converts, compresses and compiles it, to 34 % too much later; 16 % off in the mean of 37 runs. Since then
a run takes one copy of a patch's features less, and of a network that is compiled already no other form is counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .. import hardware
from ..image import Geometry
from ..models.calibration import crop_shape, pass_precision
from ..models.model import SegmentationModel, accumulated_channels, uses_features
from ..postprocessing.label_volume import needed_voxels
from ..preprocessing.preprocess import grid_shape, shape_on_network_axes
from ..records.job import InferenceSpec
from ..resampling import ResamplingSpec
from ..sliding_window import patch_origins

PROCESS_BYTES = 0.5e9  # Python with torch, OpenVINO and, where a model is converted, nnunetv2 imported
WEIGHT_COPIES = 4.5  # the model, its compressed and compiled forms, and what compiling leaves behind
COMPILED_COPIES = {"fp32": 2.0, "bf16": 1.0, "fp16": 1.0}  # where it is read in its compiled form, and laid out anew
OPENVINO_MAPS = {"fp32": 3.5, "bf16": 1.8, "fp16": 1.8}  # in units of the first stage's features of a patch, float32
TORCH_MAPS = 10.0  # the allocator keeps what is freed
# A pass with gradients, measured on networks of 4 to 32 features in the first stage and 3 to 5 stages: within 30 %.
PASS_MAPS = {"fp32": 1.2, "bf16": 0.8}  # in units of all maps of a crop, float32, whose channels fill blocks
CHANNEL_BLOCK = 16  # oneDNN's, with AVX-512: maps of 4 channels take as much as of 16
PASS_WEIGHTS = 2.5  # what it takes of the weights' bytes
MOMENT_COPIES = 1  # the sums so far, which every patch is added to in place
SAMPLE_COPIES = 2.0  # of the layer with the widest moment; the next layer's come before its memory is whole again
SAMPLE_BYTES = 2 + 4  # of one value of a sample: as gathered, and in single precision
IMAGE_BYTES, LABEL_BYTES = 2, 1  # of a voxel, as usual for a CT


def predicted_peak_memory_bytes(
    model: SegmentationModel,
    geometry: Geometry,
    device: hardware.Device,
    precision: str,
    inference: InferenceSpec,
    is_compiled: bool = False,
) -> int:
    """Predict the largest resident memory of a process that does one run, in bytes.

    Args:
        model: The original or a compressed model; the strength of compression makes little difference.
        geometry: The volume's grid.
        device: The device that computes.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        inference: Step fraction, batch size and output grid of the run.
        is_compiled: Whether the cache has the network's compiled form, so that nothing else is read of it.
    """
    plans = model.plans
    shape = grid_shape(geometry, plans, plans.resampling_convention)
    padded = [max(sizes) for sizes in zip(shape, plans.patch_shape)]
    value_bytes = 4 if precision == "fp32" else 2
    several = len(patch_origins(padded, plans.patch_shape, inference.step_fraction)) > 1
    planes = plans.patch_shape[0] if several else 0  # whose sums are held at once, see ``sliding_window.accumulator``
    return round(
        PROCESS_BYTES
        + (COMPILED_COPIES[precision] if is_compiled else WEIGHT_COPIES) * model.weight_bytes
        + math.prod(geometry.shape) * (IMAGE_BYTES * plans.input_channels + LABEL_BYTES)
        + math.prod(padded) * plans.input_channels * 4
        + planes
        * math.prod(padded[1:])
        * _kept_share(model, geometry, shape, inference)
        * (accumulated_channels(model) * value_bytes + 4)  # features and weights
        + _patch_bytes(model, device, precision, inference.batch_size)
    )


def _kept_share(model: SegmentationModel, geometry: Geometry, shape: Sequence[int], inference: InferenceSpec) -> float:
    """Share of the voxels of the model's grid, of a shape (Z, Y, X), on which the labels depend."""
    plans = model.plans
    output, upsampling = shape_on_network_axes(geometry, plans), ResamplingSpec(1, plans.resampling_convention)
    nearest = inference.output_grid == "nearest"
    needed = needed_voxels(shape, output, upsampling, nearest, uses_features(model))
    return math.prod(1 if chosen is None else len(chosen) / size for chosen, size in zip(needed, shape, strict=True))


def predicted_calibration_peak_bytes(model: SegmentationModel, geometry: Geometry, passes_bytes: int) -> int:
    """Predict the largest resident memory of a process that calibrates a model on a volume, in bytes.

    Args:
        model: What is calibrated, with its weights or without.
        geometry: The volume's grid.
        passes_bytes: From :func:`calibration_bytes`.
    """
    plans = model.plans
    grid = math.prod(grid_shape(geometry, plans, plans.resampling_convention))
    volume = plans.input_channels * (math.prod(geometry.shape) * IMAGE_BYTES + grid * 4)
    return round(PROCESS_BYTES + volume + passes_bytes)


def calibration_bytes(model: SegmentationModel) -> int:
    """Bytes that the passes of a calibration take beside the process, the model and the volume, as far as counted."""
    maps, moments, samples = _counted(model)
    weights = model.weight_bytes / len(model.folds)
    passes = PASS_MAPS[pass_precision()] * maps + PASS_WEIGHTS * weights
    return round(passes + MOMENT_COPIES * moments + SAMPLE_COPIES * samples)


def _counted(model: SegmentationModel) -> tuple[int, int, int]:
    """Bytes of all maps of a crop in float32, of all moments of one fold in float64, and of the widest samples."""
    from ..compression.calibration import POSITIONS
    from ..compression.linear_layers import weighted_layers
    from ..compression.sampling import tells_taps_apart
    from ..compression.trace import trace

    network = model.structure()
    calls = trace(network, crop_shape(model), model.plans.input_channels).calls
    shapes = [call.output_shape for call in calls if len(call.output_shape) == 5]
    maps = sum(4 * math.prod(shape[2:]) * CHANNEL_BLOCK * -(-shape[1] // CHANNEL_BLOCK) for shape in shapes)
    moments, widest = 0, 0
    for conv in weighted_layers(network).values():
        width = conv.in_channels * (math.prod(conv.kernel_size) if tells_taps_apart(conv) else 1)
        moments, widest = moments + 8 * (width**2 + conv.out_channels**2), max(width, widest)
    return maps, moments, SAMPLE_BYTES * POSITIONS * widest


def _patch_bytes(model: SegmentationModel, device: hardware.Device, precision: str, batch_size: int) -> float:
    """Bytes that the network needs for a batch of patches."""
    maps = _largest_map(model) * 4
    if device.backend == "torch":
        return maps * TORCH_MAPS * batch_size
    return maps * (OPENVINO_MAPS[precision] + batch_size - 1)  # one patch at a time; all outputs are kept


def _largest_map(model: SegmentationModel) -> int:
    """Values of the maps of a patch that take most: of a U-Net's first stage; of a transformer the largest of all."""
    from ..compression.trace import trace

    plans = model.plans
    if "features_per_stage" in plans.architecture.kwargs:
        return math.prod(plans.patch_shape) * plans.architecture.kwargs["features_per_stage"][0]
    calls = trace(model.structure(), plans.patch_shape, plans.input_channels).calls
    return max(math.prod(call.output_shape) for call in calls)
