"""``tuckerseg export``: models for other programs."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ... import model_zoo as installed_models
from ...cache import Cache
from ...errors import OutputError
from ...export import exporter
from ...export.settings import Exported, ExportSettings
from ...models.model import SegmentationModel
from ...models.resolved_job import resolve
from ...models.task import only_part, task_of
from ...nnunet.folder import find_model_folder
from ..compressed_model import compressed, cost_words
from ..jobs_from_options import model_job, model_named, volume_of
from ..model_download import bring
from ..output import say


@dataclass(frozen=True)
class NetworkExport:
    """One network to export, where it lies, and how it is written."""

    load: Callable[[], SegmentationModel]
    source: Path
    settings: ExportSettings


def export(options: argparse.Namespace) -> None:
    """``tuckerseg export MODEL --rank R --format F --out PATH``; every network of a task, one after the other."""
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
    bring(options.model, options)
    for network in _networks(options, settings):
        model = network.load()
        written_by.check(model, path, network.settings)
        if options.format == "nnunet":
            place = written_by.model_folder(model, path, network.settings)
            _require_another_place(network.source, place, model.folds, options.checkpoint)
        model = compressed(options, model, volume_of(options))
        _tell(model, written_by.export(model, path, network.settings))


def _networks(options: argparse.Namespace, settings: ExportSettings) -> list[NetworkExport]:
    """The networks of a task, with the folder names that TotalSegmentator knows them by; or the only one of a model.

    Raises:
        SpecError: Several networks would go to one place.
    """
    resolved = resolve(model_job(options))
    task = task_of(resolved, Cache())
    if options.format != "nnunet" or settings.dataset_name:
        only_part(task)
    if not resolved.networks:
        source, _ = installed_models.locate(model_named(options))
        return [NetworkExport(task.parts[0].load, source, settings)]
    return [
        NetworkExport(
            part.load,
            installed_models.find_part(listed),
            replace(settings, trainer_folder=settings.trainer_folder or listed.configuration),
        )
        for part, listed in zip(task.parts, resolved.networks, strict=True)
    ]


def _require_another_place(source: Path, place: Path, folds: tuple[str, ...], checkpoint: str | None) -> None:
    """Raise OutputError where an export would take the place of the model that it is made of."""
    if not os.path.isdir(source):
        return
    if Path(str(find_model_folder(source, folds, checkpoint).root)).resolve() == place.resolve():
        raise OutputError(f"{place} is the model itself. Name another folder, --dataset-name or --trainer-folder.")


def _tell(model: SegmentationModel, exported: Exported) -> None:
    """Print what was written where, and whether it was tried."""
    say(f"{model.name}: {cost_words(model)} (1 multiply-accumulate = 2 FLOPs)")
    for file in exported.files:
        say(f"Written: {file} ({file.stat().st_size / 1e6:.3f} MB)")
    if exported.difference is None:
        say("Not tried: nothing here runs it (for ONNX: pip install onnxruntime).")
    else:
        say(f"Tried on one patch: logits differ by at most {exported.difference:.1e} of the largest one.")
