"""``tuckerseg explore``: agreement over factor and policy, or over the step, as a table, CSV, JSON and a picture."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...analysis.accuracy_curve import Case, CurvePoint, FinishedModel, measure_curve
from ...analysis.accuracy_plot import as_text, draw_curve
from ...analysis.step_plot import draw_steps, steps_as_text
from ...cache import Cache
from ...image import read_image
from ...model_zoo import locate
from ...models.loading import load_model
from ...models.model import SegmentationModel
from ...records.serialization import to_json
from ...segmentation.prepared_model import prepare
from ...segmentation.step_fractions import StepPoint, measure_steps
from ...text_files import as_csv, make_folder, write_text
from ...training.distillation.settings import RepairSettings
from ..jobs_from_options import cases_of, inference_of, model_of, numbers_of, repair_precision, strengths_of
from ..output import say, tell

DEFAULT_POLICIES = "paper,auto"


def explore(options: argparse.Namespace) -> None:
    """``tuckerseg explore CT... --factors 0.7,0.5 --policies paper,auto --out DIR``.

    Writes ``curve.csv``, ``curve.json`` and ``curve.png``; with ``--steps 0.5,0.8`` ``steps.csv`` and so on instead.

    Raises:
        OutputError: The folder cannot be made or written.
    """
    model = model_of(options)
    volumes = [read_image(path, modality=model.plans.modalities) for path in options.ct]
    references = [read_image(path, missing_value=0.0) for path in options.reference]
    cases = cases_of(volumes, references)
    if options.steps is not None:
        _explore_steps(options, model, cases)
        return
    factors, inference = strengths_of(options.factors), inference_of(options)
    finished = [_finished(path) for path in options.models]
    policies = options.policies or ("" if finished else DEFAULT_POLICIES)
    policies = [name.strip() for name in policies.split(",")] if policies else []
    calibrate_on = [read_image(path, modality=model.plans.modalities) for path in options.calibrate_on]
    repair = RepairSettings(options.repair_steps, precision=repair_precision())
    folder = make_folder(Path(options.out))
    monitor = options.monitor
    curve = measure_curve(model, cases, factors, policies, inference, Cache(), calibrate_on, repair, monitor, finished)
    points = []
    for point in curve:
        points.append(point)
        words = f"{point.network_seconds:.2f} s, {point.network_share:.2f} of the original's"
        tell(f"{point.volume}: {point.policy} {point.factor:.2f}, agreement {point.agreement:.3f}, network {words}")
        write_text(folder / "curve.csv", as_csv(points, CurvePoint))  # what was measured stays, whatever comes
    _finish(folder, "curve", points, as_text(points), draw_curve)


def _finished(name: str) -> FinishedModel:
    """A finished model by its path or name; it is loaded when its turn comes."""
    path, _ = locate(name)
    size = path.stat().st_size if path.suffix == ".tuckerseg" and os.path.isfile(path) else None
    return FinishedModel(path.stem if size else name, lambda: load_model(name), size)


def _explore_steps(options: argparse.Namespace, model: SegmentationModel, cases: Sequence[Case]) -> None:
    """The curve over the step of the patches, of the model as it is."""
    folder, points, inference = make_folder(Path(options.out)), [], inference_of(options)
    steps, kinds = numbers_of(options.steps, "--steps"), [kind.strip() for kind in options.weights.split(",")]
    with contextlib.closing(prepare(model, inference, Cache())) as ready:
        for point in measure_steps(ready, cases, steps, inference, kinds, options.monitor):
            points.append(point)
            tell(f"{point.volume}: step {point.step_fraction:g}, {point.weights}, agreement {point.agreement:.3f}")
            write_text(folder / "steps.csv", as_csv(points, StepPoint))
    _finish(folder, "steps", points, steps_as_text(points), draw_steps)


def _finish(folder: Path, name: str, points: Sequence[Any], text: str, draw: Callable[..., None]) -> None:
    """Write a curve as JSON and picture, and show its table."""
    write_text(folder / f"{name}.json", json.dumps([to_json(point) for point in points], indent=1))
    say(*text.split("\n"))
    try:
        draw(points, folder / f"{name}.png")
    except ModuleNotFoundError:
        say("matplotlib is not installed, so no picture was drawn: pip install matplotlib")
    say(f"Written: {folder}")
