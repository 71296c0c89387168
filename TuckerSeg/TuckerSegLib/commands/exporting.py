"""The sub-command that writes models for other programs."""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import catalog
from ..command_options import folds_of
from ..errors import OutputError
from ..exporting import exporter
from ..exporting.settings import Exported, ExportSettings
from ..image import read_image
from ..loading import load_model
from ..nnunet.folder import find_model_folder
from .models import compressed


def export(options: argparse.Namespace) -> None:
    """``tuckerseg export MODEL --rank R --format F --out PATH``."""
    path, written_by = Path(options.out).expanduser(), exporter(options.format)
    settings = ExportSettings(
        overwrite=options.overwrite,
        dataset_name=options.dataset_name,
        trainer_folder=options.trainer_folder,
        weights=options.weights,
        dynamic_batch=options.dynamic_batch,
        opset=options.opset,
    )
    settings.require_only(written_by.OPTIONS, options.format)
    model = load_model(options.model, folds_of(options))
    written_by.check(model, path, settings)
    if options.format == "nnunet":
        _require_another_place(options.model, written_by.model_folder(model, path, settings))
    model = compressed(options, model, (lambda: read_image(options.ct)) if options.ct else None)
    exported = written_by.export(model, path, settings)
    before, after = model.original_cost, model.cost
    print(f"{model.name}: {before.parameters / 1e6:.3f} -> {after.parameters / 1e6:.3f} million parameters")
    _tell(exported)


def _require_another_place(model: str, place: Path) -> None:
    """Raise OutputError where an export would take the place of the model that it is made of."""
    source = catalog.model_path(model)
    if source.is_dir() and Path(str(find_model_folder(source).root)).resolve() == place.resolve():
        raise OutputError(f"{place} is the model itself. Name another folder, --dataset-name or --trainer-folder.")


def _tell(exported: Exported) -> None:
    """Print where a model was written, and whether it was tried."""
    for file in exported.files:
        print(f"Written: {file} ({file.stat().st_size / 1e6:.3f} MB)")
    if exported.difference is None:
        print("Not tried: nothing here runs it (for ONNX: pip install onnxruntime).")
    else:
        print(f"Tried on one patch: logits differ by at most {exported.difference:.1e} of the largest one.")
