"""What a compressed model takes in memory and on disk, and how long it runs, against its original, layer by layer.

Ratios are original / compressed, so more is better; those of sHAM's time and space evaluation. The original counts as
its weights in single precision. Its values cost no time, so that it is timed with random ones.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from ..compression.layers import convolutions
from ..models.calibration import crop_shape
from ..models.coded_weights import coded
from ..models.model import SegmentationModel

ALL, REST = "all", "all else"


@dataclass(frozen=True)
class StorageRatio:
    """One layer of the original, or the whole network.

    Attributes:
        model: Its name.
        layer: Path of the convolution; ``all else``: norms; ``all``: everything.
        weights: Numbers that the original holds, of all folds.
        original_bytes: In single precision.
        memory_bytes: Of what is stored in its place, as it is held in memory.
        disk_bytes: The same in a file; of ``all`` the file's size, where it is one.
        memory_ratio, disk_ratio: original_bytes / these.
        time_ratio: Seconds of the original / seconds of what took its place, decoded; None where nothing was timed.
    """

    model: str
    layer: str
    weights: int
    original_bytes: int
    memory_bytes: int
    disk_bytes: int
    memory_ratio: float
    disk_ratio: float
    time_ratio: float | None = None


def storage_ratios(model: SegmentationModel, file_bytes: int | None = None, runs: int = 3) -> list[StorageRatio]:
    """The ratios of every convolution of a model's original, of all else, and of the whole.

    Args:
        model: With its weights.
        file_bytes: Size of its file; None: the sum of what its tensors take in one.
        runs: Passes of one crop of which the median counts; 0 times nothing.
    """
    original = replace(model, recipes=()).structure()
    stored, _ = coded(model.weights)
    seconds = _times(original, model, runs) if runs else {}
    sizes = {path: sum(each.numel() for each in conv.parameters()) for path, conv in convolutions(original).items()}
    sizes[REST] = sum(each.numel() for each in original.parameters()) - sum(sizes.values())
    rows = []
    for path, size in sizes.items():
        names = [name for name in model.weights if _owner(name, sizes) == path]
        memory, disk = (sum(_bytes(tensors[name]) for name in names) for tensors in (model.weights, stored))
        rows.append(_row(model, path, size, memory, disk, seconds))
    memory, disk = (sum(map(_bytes, tensors.values())) for tensors in (model.weights, stored))
    return [*rows, _row(model, ALL, sum(sizes.values()), memory, disk if file_bytes is None else file_bytes, seconds)]


def together(name: str, totals: Sequence[StorageRatio], file_bytes: int) -> StorageRatio:
    """The ratios of several networks together, which are timed one by one alone.

    Args:
        name: Of them all.
        totals: Each network's row of ``all``.
        file_bytes: Size of the file that holds them.
    """
    weights, original, memory = (
        sum(getattr(each, field) for each in totals) for field in ("weights", "original_bytes", "memory_bytes")
    )
    return StorageRatio(name, ALL, weights, original, memory, file_bytes, original / memory, original / file_bytes)


def _row(
    model: SegmentationModel, path: str, size: int, memory: int, disk: int, seconds: dict[str, tuple[float, float]]
) -> StorageRatio:
    count = size * len(model.folds)
    before, after = seconds.get(path, (0.0, 0.0))
    ratios = (4 * count / max(memory, 1), 4 * count / max(disk, 1), before / after if after else None)
    return StorageRatio(model.name, path, count, 4 * count, memory, disk, *ratios)


def _owner(name: str, sizes: dict[str, int]) -> str:
    """The original's convolution that a stored tensor belongs to, ``fold/path...``."""
    parts = name.partition("/")[2].split(".")
    candidates = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((path for path in candidates if path in sizes), REST)


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


@torch.inference_mode()
def _times(original: nn.Module, model: SegmentationModel, runs: int) -> dict[str, tuple[float, float]]:
    """Median seconds of every layer and of the whole, of the original and of the model."""
    patch = torch.zeros(1, model.plans.input_channels, *crop_shape(model)).normal_(
        generator=torch.Generator().manual_seed(0)
    )
    paths = list(convolutions(original))
    original = original.to_empty(device="cpu").eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in original.parameters():
        parameter.normal_(std=0.02, generator=generator)
    before, after = (_median_times(each, paths, patch, runs) for each in (original, model.network(model.folds[0])))
    return {path: (before[path], after[path]) for path in before}


def _median_times(network: nn.Module, paths: Sequence[str], patch: torch.Tensor, runs: int) -> dict[str, float]:
    samples: dict[str, list[float]] = {path: [] for path in (*paths, ALL)}
    started: dict[nn.Module, float] = {}
    handles = []
    for path in paths:
        module = network.get_submodule(path)

        def begin(layer, inputs):
            started[layer] = time.perf_counter()

        def end(layer, inputs, output, path=path):
            samples[path].append(time.perf_counter() - started[layer])

        handles += [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]
    for _ in range(runs + 1):
        begun = time.perf_counter()
        network(patch)
        samples[ALL].append(time.perf_counter() - begun)
    for handle in handles:
        handle.remove()
    return {path: statistics.median(values[1:] or values) for path, values in samples.items() if values}  # one warms up
