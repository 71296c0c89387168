"""Models that the user gives a name: copied, checked by reading all that a run reads, listed; and removed again."""

from __future__ import annotations

import json
import os
import re
import time
import warnings
import zipfile
import zlib
from pathlib import Path

from ..catalog.entries import Task, task
from ..download import check_space
from ..errors import ModelFolderError, OutputError, SpecError
from ..files.atomic_writes import move_into_place, output_error, remove_at_once, temporary_folder
from ..files.fsync import synced_file
from ..files.names import fault_of_name, same_to_some
from ..monitor import Monitor
from ..nnunet.archives import check_archive
from ..nnunet.folder import ModelFolder, find_model_folder
from ..nnunet.plans import ModelPlans
from ..nnunet.reading import read_plans
from ..nnunet.weights import network_with_weights
from ..printable import shown
from ..text_files import write_text
from .archives import CHUNK_BYTES
from .places import IMPORTED, NOTE_FILE, ImportedModel, imported_models, models_folder

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def import_model(
    path: str | Path, name: str, monitor: Monitor | None = None, configuration: str | None = None
) -> ImportedModel:
    """Copy an nnU-Net v2 model and give it a name; of a cascade, the stages before it, too, where they lie beside it.

    Warns where a stage does not: the model then has to be given its labels.

    Args:
        path: Results folder, ``DatasetXXX`` folder, or zip of either.
        monitor: Asked before each piece whether to stop.
        configuration: Which of several it holds, as ``2d``; None: see ``nnunet.folder.find_model_folder``.

    Raises:
        SpecError: The name cannot be used.
        ModelFolderError, UnsupportedModelError: Not a model that can be run.
        DownloadError: The disk is too full.
        OutputError: The copy cannot be written.
        Cancelled: The monitor said so.
    """
    _check_name(name)
    source = Path(path).expanduser().absolute()
    if os.path.isfile(source):
        check_archive(source)
    folder = find_model_folder(source, configuration=configuration)
    plans = _read_everything(folder)
    own = _configuration_name(folder, plans)
    stages = {own: folder, **_stages_before(folder, plans, own)}
    parent = models_folder() / IMPORTED
    try:
        parent.mkdir(parents=True, exist_ok=True)
        check_space(parent, sum(_size(file) for stage in stages.values() for file in stage.files()))
        with temporary_folder(parent) as beside:
            root = beside / "model"
            for configuration_name, stage in stages.items():
                _copy(stage, root / configuration_name, monitor or Monitor())
            title = f"{plans.dataset_name or source.stem}: {len(plans.labels)} structures"
            when = time.strftime("%Y-%m-%dT%H:%M:%S%z")
            note = {"title": title, "source": str(source), "imported_at": when, "configuration": own}
            write_text(root / NOTE_FILE, json.dumps(note, indent=1))
            move_into_place(root, parent / name)
    except OSError as error:
        raise output_error(parent / name, error) from error
    return next(model for model in imported_models() if model.name == name)


def remove_model(name: str) -> list[Path]:
    """Remove an imported model, or the networks of a task from TuckerSeg's own folder.

    Returns:
        What was removed. Models that lie elsewhere, as in TotalSegmentator's folder, are left alone.

    Raises:
        SpecError: No such name.
        OutputError: It cannot be removed.
    """
    catalog_task = task(name)
    if catalog_task is None and name not in [model.name for model in imported_models()]:
        raise SpecError(
            f"'{name}' is neither a task nor an imported model.", shell="'tuckerseg models' lists the names."
        )
    folders = _own_folders(catalog_task) if catalog_task else [models_folder() / IMPORTED / name]
    for folder in folders:
        try:
            remove_at_once(folder)
        except OSError as error:
            raise OutputError(f"{folder} cannot be removed: {error.strerror}.") from error
    return folders


def _own_folders(catalog_task: Task) -> list[Path]:
    folders = dict.fromkeys(models_folder() / part.dataset for part in catalog_task.parts)
    return [folder for folder in folders if os.path.isdir(folder)]


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise SpecError(f"'{name}' cannot be a model's name: use letters, digits, '.', '_' and '-'.")
    if fault := fault_of_name(name):
        raise SpecError(f"'{name}' cannot be a model's name: it {fault}. Choose another one.")
    if task(name):
        raise SpecError(f"'{name}' is a task of the catalog; choose another name.")
    for other in (model.name for model in imported_models()):
        if same_to_some(other) == same_to_some(name):
            raise SpecError(
                f"There is a model '{other}' already: choose another name, or remove that one first.",
                shell=f"'tuckerseg models remove {other}' removes it.",
            )


def _read_everything(folder: ModelFolder) -> ModelPlans:
    """As a run reads it, so that a model that cannot be run is not taken in: one fold's weights at a time."""
    documents, plans = (folder.read_json("plans.json"), folder.read_json("dataset.json")), None
    for fold in folder.folds:
        checkpoint = folder.read_checkpoint(fold)
        plans = plans or read_plans(*documents, checkpoint, str(folder.container))
        network_with_weights(plans, checkpoint["network_weights"], f"{folder.container}: fold_{fold}")
    return plans


def _stages_before(folder: ModelFolder, plans: ModelPlans, name: str) -> dict[str, ModelFolder]:
    """The earlier stages of a cascade that lie beside it, by the names of folders that put the copies beside its copy.

    Args:
        folder: Of the last stage.
        plans: Its plans.
        name: Of the folder of its copy.

    Raises:
        ModelFolderError: One cannot be run, or they lead back to one another.
    """
    stages: dict[str, ModelFolder] = {}
    while (previous := plans.previous_stage) is not None:
        beside, is_there = folder.sibling(plans.configuration, previous)
        if not is_there:
            warnings.warn(
                f"{plans.dataset_name or folder.container} {plans.configuration} is a stage of a cascade, which takes "
                f"the labels of the configuration {shown(previous)}; {folder.container} does not hold its model, so it "
                "was not imported. Import a folder or zip that holds both, or name that stage in each run.",
                stacklevel=3,
            )
            break
        name = name.removesuffix(f"__{plans.configuration}") + f"__{previous}"
        if name in stages:
            raise ModelFolderError(
                f"{folder.container}: the stages of a cascade should end; {shown(name)} comes again."
            )
        folder = find_model_folder(str(beside))
        plans = _read_everything(folder)
        stages[name] = folder
    return stages


def _configuration_name(folder: ModelFolder, plans: ModelPlans) -> str:
    """As nnU-Net names it; a folder that was renamed, or a zip without one, gets a name of that form."""
    name = folder.root.name if isinstance(folder.root, Path) or folder.root.at else ""
    return name if name.count("__") == 2 else f"nnUNetTrainer__nnUNetPlans__{plans.configuration}"


def _size(file: Path | zipfile.Path) -> int:
    return file.stat().st_size if isinstance(file, Path) else file.root.getinfo(file.at).file_size


def _copy(folder: ModelFolder, target: Path, monitor: Monitor) -> None:
    """Only what a run needs: results folders hold validation images, too."""
    names = ["plans.json", "dataset.json", *(f"fold_{fold}/{folder.checkpoint}" for fold in folder.folds)]
    for name in names:
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            with (folder.root / name).open("rb") as source, synced_file(place) as file:
                while chunk := source.read(CHUNK_BYTES):
                    monitor.check("The import")
                    file.write(chunk)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise ModelFolderError(f"{folder.container} is damaged at {name} ({error}).") from error
