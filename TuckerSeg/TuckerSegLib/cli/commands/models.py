"""``tuckerseg models``: which models have a name, what is here, and how it comes and goes."""

from __future__ import annotations

import argparse
from typing import Any

from ... import catalog
from ... import model_zoo as installed_models
from ...catalog.entries import Task
from ...errors import SpecError
from ...model_zoo import ImportedModel
from ..model_download import bring
from ..output import say, show_json

BUILT_IN, INSTALLED, MISSING, LICENSED, IMPORTED = "built in", "installed", "not installed", "license key", "imported"


def models(options: argparse.Namespace) -> None:
    """``tuckerseg models [list|download|import|remove]``."""
    {"list": _list, "download": _download, "import": _import, "remove": _remove}[options.action](options)


def _list(options: argparse.Namespace) -> None:
    tasks, imported = catalog.tasks(), installed_models.imported_models()
    if options.json:
        facts = [*map(_task_facts, tasks), *map(_import_facts, imported)]
        show_json(facts)
        return
    for task in tasks:
        say(f"{task.name:26} {task.title}", f"{'':26} {_words(task)}")
    for model in imported:
        say(f"{model.name:26} {model.title}", f"{'':26} imported, in {model.path}")
    say(f"Downloads and imports go to {installed_models.models_folder()}")
    say("Any nnU-Net v2 3D results folder or zip, or .tuckerseg file, can be given by its path: --model PATH")


def _download(options: argparse.Namespace) -> None:
    for name in options.names:
        task = catalog.task(name)
        if task is None:
            raise SpecError(f"'{name}' is not a task that can be downloaded; 'tuckerseg models' lists the tasks.")
        bring(name, options)
        _say(options, {"event": "result", **_task_facts(task)}, f"{name}: {_words(task)}")


def _import(options: argparse.Namespace) -> None:
    from ...model_zoo.importing import import_model

    model = import_model(options.path, options.name, options.monitor, options.model_configuration)
    facts = {"event": "result", **_import_facts(model)}
    _say(options, facts, model.title, f"Imported into {model.path}; use it as --model {model.name}")


def _remove(options: argparse.Namespace) -> None:
    from ...model_zoo.importing import remove_model

    for name in options.names:
        removed = remove_model(name)
        task = catalog.task(name)
        words = f"{name}: removed {', '.join(map(str, removed))}" if removed else f"{name}: there is nothing to remove"
        if task and (elsewhere := installed_models.installed(task)):
            words += f"; {', '.join(map(str, elsewhere))} is not TuckerSeg's and stays"
        _say(options, {"event": "result", "name": name, "removed": [str(path) for path in removed]}, words)


def _task_facts(task: Task) -> dict[str, Any]:
    paths = installed_models.installed(task)
    return {
        "name": task.name,
        "title": task.title,
        "modality": task.modality,
        "state": _state(task, paths),
        "paths": [str(path) for path in paths or ()],
        "size_bytes": task.size_bytes,
        "networks": len(task.parts),
        "structures": [name for _, name in task.structures],
        "license": task.license,
        "citation": task.citation,
        "note": task.note,
    }


def _import_facts(model: ImportedModel) -> dict[str, Any]:
    facts = {"name": model.name, "title": model.title, "state": IMPORTED, "paths": [str(model.path)]}
    return {**facts, "source": model.source, "imported_at": model.imported_at}


def _state(task: Task, paths: tuple[Any, ...] | None) -> str:
    if task.license_key_required:
        return LICENSED
    if task.path is not None:
        return BUILT_IN
    return INSTALLED if paths else MISSING


def _words(task: Task) -> str:
    paths = installed_models.installed(task)
    state = _state(task, paths)
    if state == LICENSED:
        return task.license
    if state == BUILT_IN:
        return f"built in. {task.note}"
    if state == INSTALLED:
        return "installed in " + ", ".join(dict.fromkeys(str(path.parent.parent) for path in paths))
    size = f"{task.size_bytes / 1e6:.0f} MB to download" if task.size_bytes else "to download"
    return " ".join(filter(None, (f"{size}.", task.note)))


def _say(options: argparse.Namespace, event: dict[str, Any], *lines: str) -> None:
    if options.json:
        show_json(event, indent=None)
    else:
        say(*lines)
