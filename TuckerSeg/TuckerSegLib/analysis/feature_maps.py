"""What the layers of a network make of a volume: their feature maps, and how far these cluster."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..compression.channel_graph import channel_graph
from ..errors import SpecError
from ..files.atomic_writes import written_whole
from ..image import Image
from ..models.calibration import calibration_patches
from ..models.model import SegmentationModel
from ..training.pruning.likeness import GroupMaps

FEWEST = 3  # channels that can be nearer to some than to others


@dataclass(frozen=True, eq=False)
class LayerMaps:
    """Feature maps of one layer, as the layers that read them get them.

    Attributes:
        path: Of the convolution.
        slices: (C, Y, X), the middle slice of every map, each scaled to 0..1; a map without contrast is 0.
        clusterability: See :func:`clusterability`; None of fewer than three maps.
    """

    path: str
    slices: np.ndarray
    clusterability: float | None


def measure_maps(model: SegmentationModel, volume: Image, patterns: Sequence[str] = ()) -> list[LayerMaps]:
    """The feature maps of the first fold on the part of a volume that has the most contrast.

    Args:
        model: The original or a compressed one.
        volume: Any that the model can segment.
        patterns: Of the paths of the layers, as ``decoder.*``; none: all whose channels may be pruned.

    Raises:
        SpecError: A pattern fits no such layer, or there are none.
        ImageError: The volume does not fit the model.
    """
    network = model.network(model.folds[0])
    graph = channel_graph(network, model.plans.patch_shape, model.plans.input_channels)
    for pattern in patterns or ("*",):
        if not fnmatch.filter(graph.groups, pattern):
            listed = "\n  ".join(graph.groups) or "none"
            raise SpecError(
                f"No layer of {model.name} whose channels may be pruned fits '{pattern}'. There are:\n  {listed}"
            )
    (patch,) = calibration_patches(model, volume, 1)
    watch = GroupMaps(network, graph)
    try:
        with torch.inference_mode():
            network(patch)
        maps = watch.take()
    finally:
        watch.close()
    wanted = [path for path in graph.groups if any(fnmatch.fnmatchcase(path, each) for each in patterns or ("*",))]
    return [_layer(path, maps[path][0].float()) for path in wanted]


def _layer(path: str, maps: Tensor) -> LayerMaps:
    scaled = _scaled(maps)
    return LayerMaps(path, scaled[:, maps.shape[1] // 2].numpy(), clusterability(maps))


def _scaled(maps: Tensor) -> Tensor:
    """Maps (C, Z, Y, X), each from 0 to 1."""
    low, high = maps.amin(dim=(1, 2, 3), keepdim=True), maps.amax(dim=(1, 2, 3), keepdim=True)
    return (maps - low) / (high - low).clamp(min=1e-12)


def clusterability(maps: Tensor) -> float | None:
    """How far feature maps cluster: 1 less the mean distance to the nearest other map over the mean distance to any.

    Distances are Sauron's: root mean squares of the differences of maps that are scaled to 0..1 and pooled by 2.

    Args:
        maps: (C, Z, Y, X).

    Returns:
        From 0, all are equally far from one another, to 1: every one is there twice at least. None of fewer than three
        maps; 1 where all are the same.
    """
    count = len(maps)
    if count < FEWEST:
        return None
    pooled = nn.functional.avg_pool3d(_scaled(maps), [min(2, size) for size in maps.shape[1:]]).flatten(1).double()
    apart = torch.cdist(pooled, pooled, compute_mode="donot_use_mm_for_euclid_dist") / pooled.shape[1] ** 0.5
    mean = float(apart.sum()) / (count * (count - 1))
    nearest = float((apart + torch.diag(torch.full((count,), torch.inf, dtype=apart.dtype))).amin(dim=1).mean())
    return 1 - nearest / mean if mean > 0 else 1.0


def grid_of(slices: np.ndarray) -> np.ndarray:
    """Slices (C, Y, X) side by side in a square as near as can be, a pixel apart; uint8 (rows, columns).

    What no slice covers is white.
    """
    count, height, width = slices.shape
    columns = int(np.ceil(count**0.5))
    rows = -(-count // columns)
    grid = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), 255, np.uint8)
    for number, each in enumerate(slices):
        top, left = number // columns * (height + 1), number % columns * (width + 1)
        grid[top : top + height, left : left + width] = np.rint(255 * each)
    return grid


def draw_maps(layer: LayerMaps, path: Path) -> None:
    """Write the grid of a layer's maps as PNG, a pixel per voxel.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        OutputError: The file cannot be written.
    """
    from matplotlib.image import imsave

    with written_whole(path) as beside:
        imsave(beside, np.repeat(grid_of(layer.slices)[..., None], 3, axis=2), format="png")
