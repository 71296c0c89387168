"""``tuckerseg features``: pictures of feature maps, and how far they cluster, of one model or of two."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...analysis.feature_maps import LayerMaps, draw_maps, measure_maps
from ...files.names import safe_name
from ...image import read_image
from ...models.loading import load_model
from ...text_files import csv_text, make_folder, write_text
from ..jobs_from_options import model_of
from ..output import say


def features(options: argparse.Namespace) -> None:
    """``tuckerseg features CT --layer PATTERN --model M [--compare OTHER] --out DIR``.

    Writes a picture per layer and ``clusterability.csv``.
    """
    model = model_of(options)
    volume = read_image(options.ct, modality=model.plans.modalities)
    layers = measure_maps(model, volume, options.layer)
    other: dict[str, LayerMaps] = {}
    if options.compare is not None:
        compared = measure_maps(load_model(options.compare), volume, options.layer)
        other = {layer.path: layer for layer in compared}
    folder = make_folder(Path(options.out))
    rows = [("layer", "channels", "clusterability", "compared_channels", "compared_clusterability")]
    rows += [(layer.path, *_numbers(layer), *_numbers(other.get(layer.path))) for layer in layers]
    write_text(folder / "clusterability.csv", csv_text(rows))
    say(f"{'layer':44}{'channels':>10}{'clusterability':>16}" + (f"{'compared':>10}{'':>16}" if other else ""))
    for path, *numbers in rows[1:]:
        words = [_word(number) for number in numbers]
        say(f"{path:44}{words[0]:>10}{words[1]:>16}" + (f"{words[2]:>10}{words[3]:>16}" if other else ""))
    _draw(layers, folder, "")
    _draw(list(other.values()), folder, "compared.")
    say(f"Written: {folder}")


def _numbers(layer: LayerMaps | None) -> tuple[int | None, float | None]:
    return (None, None) if layer is None else (len(layer.slices), layer.clusterability)


def _word(number: float | None) -> str:
    return "-" if number is None else f"{number:.3f}" if isinstance(number, float) else str(number)


def _draw(layers: list[LayerMaps], folder: Path, prefix: str) -> None:
    try:
        for layer in layers:
            draw_maps(layer, folder / safe_name(f"{prefix}{layer.path}.png"))
    except ModuleNotFoundError:
        say("matplotlib is not installed, so no picture was drawn: pip install matplotlib")
