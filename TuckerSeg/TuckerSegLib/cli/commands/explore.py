"""``tuckerseg explore``: agreement over factor and policy on CTs, as a table, CSV, JSON and a picture."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ...analysis.accuracy_curve import CurvePoint, measure_curve
from ...analysis.accuracy_plot import as_text, draw_curve
from ...cache import Cache
from ...image import read_image
from ...records.serialization import to_json
from ...text_files import as_csv, make_folder, write_text
from ...training.distillation.settings import RepairSettings
from ..jobs_from_options import cases_of, inference_of, model_of, repair_precision, strengths_of
from ..output import say, tell


def explore(options: argparse.Namespace) -> None:
    """``tuckerseg explore CT... --factors 0.7,0.5 --policies paper,auto --out DIR``.

    Writes ``curve.csv``, ``curve.json`` and ``curve.png``.

    Raises:
        OutputError: The folder cannot be made or written.
    """
    model = model_of(options)
    volumes = [read_image(path, modality=model.plans.modalities) for path in options.ct]
    references = [read_image(path, missing_value=0.0) for path in options.reference]
    cases = cases_of(volumes, references)
    factors, inference = strengths_of(options.factors), inference_of(options)
    policies = [name.strip() for name in options.policies.split(",")]
    calibrate_on = [read_image(path, modality=model.plans.modalities) for path in options.calibrate_on]
    repair = RepairSettings(options.repair_steps, precision=repair_precision())
    folder = make_folder(Path(options.out))
    curve = measure_curve(model, cases, factors, policies, inference, Cache(), calibrate_on, repair, options.monitor)
    points = []
    for point in curve:
        points.append(point)
        tell(f"{point.volume}: {point.policy} {point.factor:.2f}, agreement {point.agreement:.3f}")
        write_text(folder / "curve.csv", as_csv(points, CurvePoint))  # what was measured stays, whatever comes
    write_text(folder / "curve.json", json.dumps([to_json(point) for point in points], indent=1))
    say(*as_text(points).split("\n"))
    try:
        draw_curve(points, folder / "curve.png")
    except ModuleNotFoundError:
        say("matplotlib is not installed, so no picture was drawn: pip install matplotlib")
    say(f"Written: {folder}")
