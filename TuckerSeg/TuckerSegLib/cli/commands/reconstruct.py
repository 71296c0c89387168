"""``tuckerseg reconstruct``: errors of layers over a grid of ranks, as CSV, as heat maps and as a short table."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

from ...analysis.layer_reconstruction import (
    LayerReconstruction,
    RankGrid,
    RankPair,
    layers_of,
    measure_reconstruction,
)
from ...analysis.reconstruction_plot import as_text, draw_reconstruction
from ...cache import Cache
from ...image import Image, read_image
from ...models.calibration import ModelCalibration, calibrate_model, stored_calibration
from ...models.model import SegmentationModel
from ...monitor import Monitor
from ...text_files import csv_text, make_folder, write_text
from ..jobs_from_options import model_of
from ..output import say, tell

COLUMNS = (
    *("layer", "output_channels", "input_channels", "kernel", "dense_macs", "dense_parameters"),
    *(field.name for field in fields(RankPair)),
)


def reconstruct(options: argparse.Namespace) -> None:
    """``tuckerseg reconstruct --model M --ct CT --layer PATTERN --multiple 8 --out DIR``.

    Writes ``reconstruction.csv`` and ``reconstruction.png``.

    Raises:
        SpecError: The model is compressed already, or a pattern fits no layer.
        OutputError: The folder cannot be made or written.
        ImageError: The volume does not fit the model.
    """
    model, folder = model_of(options), Path(options.out)
    grid = RankGrid(options.multiple, tuple(options.layer))
    volume = read_image(options.ct, modality=model.plans.modalities) if options.ct else None
    count = len(layers_of(model, grid.layers))  # errors before the work, not after it
    table = make_folder(folder) / "reconstruction.csv"
    text = csv_text([COLUMNS])
    write_text(table, text)
    cache, layers = Cache(), []
    calibration = _calibration(model, volume, cache, options.monitor)
    for layer in measure_reconstruction(model, grid, cache, calibration, options.monitor):
        layers.append(layer)
        text += csv_text(_rows(layer))
        write_text(table, text)  # what was measured stays, whatever comes
        tell(f"{len(layers)}/{count} {layer.path}: {len(layer.pairs)} rank pairs")
    say(*as_text(layers).split("\n"))
    try:
        draw_reconstruction(layers, folder / "reconstruction.png")
    except ModuleNotFoundError:
        say("matplotlib is not installed, so no picture was drawn: pip install matplotlib")
    say(f"Written: {folder}")


def _calibration(
    model: SegmentationModel, volume: Image | None, cache: Cache, monitor: Monitor
) -> ModelCalibration | None:
    if volume is not None:
        return calibrate_model(model, volume, monitor=monitor)
    calibration = stored_calibration(model, cache)
    if calibration is None:
        tell(f"{model.name} is not calibrated: errors of the weights alone. Whitened ones: --ct CT")
    return calibration


def _rows(layer: LayerReconstruction) -> Iterable[Sequence[Any]]:
    outputs, inputs, *kernel = layer.shape
    common = (layer.path, outputs, inputs, "x".join(map(str, kernel)), layer.dense.macs, layer.dense.parameters)
    for pair in layer.pairs:
        yield *common, *astuple(pair)
