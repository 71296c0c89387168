"""Where the files of models lie on this computer."""

from __future__ import annotations

import difflib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from .. import catalog
from ..catalog.entries import Part, Task
from ..errors import DownloadError, ModelFolderError
from ..files.leftovers import temporary_places
from ..nnunet.archives import split_archive
from ..text_files import read_json

CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
IMPORTED = "imported"  # folder of models that the user named
NOTE_FILE = "tuckerseg.json"  # in a model's folder: where it came from


@dataclass(frozen=True)
class ImportedModel:
    """A model that the user gave a name.

    Attributes:
        title: One line for people.
        path: Its folder.
        source: Where it was imported from.
        imported_at: ISO date and time.
        configuration: Which of its folders holds the network that makes the labels, where there are several, as of a
            cascade; empty: there is one.
    """

    name: str
    title: str
    path: Path
    source: str = ""
    imported_at: str = ""
    configuration: str = ""

    @property
    def network_path(self) -> Path:
        """The folder of the network that makes the labels, or one that holds it alone."""
        return self.path / self.configuration if self.configuration else self.path


def models_folder() -> Path:
    """TuckerSeg's own: ``TUCKERSEG_MODELS_DIR``, else in the platform's folder for data of programs."""
    if named := os.environ.get("TUCKERSEG_MODELS_DIR"):
        return Path(named).expanduser().absolute()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "TuckerSeg" / "Models"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "TuckerSeg" / "Models"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "tuckerseg" / "models"


def search_folders() -> list[Path]:
    """Folders that may hold ``DatasetXXX`` folders: TuckerSeg's own, TotalSegmentator's and nnU-Net's."""
    folders = [models_folder()]
    if weights := os.environ.get("TOTALSEG_WEIGHTS_PATH"):
        folders.append(Path(weights).expanduser())
    homes = [os.environ.get("TOTALSEG_HOME_DIR"), Path.home() / ".totalsegmentator"]
    folders += [Path(home).expanduser() / "nnunet" / "results" for home in homes if home]
    if results := os.environ.get("nnUNet_results"):  # noqa: SIM112
        folders.append(Path(results).expanduser())
    return list(dict.fromkeys(folders))


def find_part(part: Part) -> Path | None:
    """Folder of a network's configuration that has all its files; None where there is none."""
    for folder in search_folders():
        dataset = folder / part.dataset
        for candidate in [dataset / part.configuration] if part.configuration else _subfolders(dataset):
            if is_whole(candidate, part.folds):
                return candidate
    return None


def is_whole(folder: Path, folds: tuple[str, ...] | None) -> bool:
    """Whether a configuration's folder has its plans and a checkpoint of each fold, or of any where none is named."""
    fold_folders = [folder / f"fold_{fold}" for fold in folds] if folds else _subfolders(folder)
    trained = [any(os.path.isfile(fold / name) for name in CHECKPOINTS) for fold in fold_folders]
    if not (all(trained) if folds else any(trained)):
        return False
    return all(os.path.isfile(folder / name) for name in ("plans.json", "dataset.json"))


def installed(task: Task) -> tuple[Path, ...] | None:
    """Folders of all networks of a task, in their order; None where one is missing."""
    if task.path is not None:
        return tuple(task.path / part.configuration for part in task.parts)
    folders = tuple(find_part(part) for part in task.parts)
    return None if None in folders else folders


def is_installed(task: Task) -> bool:
    """Whether all networks of a task are on this computer."""
    return installed(task) is not None


def imported_models() -> tuple[ImportedModel, ...]:
    """What the user imported, by name."""
    models = []
    for folder in _subfolders(models_folder() / IMPORTED):
        try:
            note = read_json(folder / NOTE_FILE)
            words = [note[name] for name in ("title", "source", "imported_at")]
            if not all(isinstance(word, str) for word in words):
                raise ValueError("its texts are none")
            named = note.get("configuration")
            configuration = next((each.name for each in _subfolders(folder) if each.name == named), "")
            models.append(ImportedModel(folder.name, words[0], folder, *words[1:], configuration))
        except (OSError, ValueError, KeyError, TypeError):
            models.append(ImportedModel(folder.name, folder.name, folder))
    return tuple(models)


def locate(name_or_path: str, folds: tuple[str, ...] | None = None) -> tuple[Path, tuple[str, ...] | None]:
    """Find the files of a model of one network by its name or path; names win.

    One network of a task of several has the name of its data set.

    Args:
        folds: That are asked for; None: those that the task uses, or all.

    Returns:
        Its folder or file, and the folds to use.

    Raises:
        ModelFolderError: Neither a known name nor an existing path, or a task of several networks.
        DownloadError: A task that is not installed.
    """
    if task := catalog.task(name_or_path):
        return _locate_task(task, folds)
    for model in imported_models():
        if model.name == name_or_path:
            return model.network_path, folds
    path = Path(name_or_path).expanduser()
    if not os.path.exists(split_archive(path)[0]):
        for part in (part for each in catalog.tasks() for part in each.parts if part.dataset == name_or_path):
            if folder := find_part(part):
                return folder, folds or part.folds
        raise _unknown(name_or_path)
    return path, folds


def refusal(task: Task) -> str | None:
    """Why a task cannot be had by its name, in words; None where it can."""
    if not task.license_key_required:
        return None
    return (
        f"{task.name} needs a license key of TotalSegmentator, which TuckerSeg neither asks for nor checks. With a "
        f"license, download it by TotalSegmentator and give the path of its folder {task.parts[0].dataset}."
    )


def _locate_task(task: Task, folds: tuple[str, ...] | None) -> tuple[Path, tuple[str, ...] | None]:
    if reason := refusal(task):
        raise DownloadError(reason)
    paths = installed(task)
    if paths is None:
        raise DownloadError(
            f"{task.name} is not installed: download it first.",
            shell=f"'tuckerseg models download {task.name}' does that.",
        )
    if len(paths) > 1:
        folders = ", ".join(path.parent.name for path in paths)
        raise ModelFolderError(f"{task.name} consists of {len(paths)} networks; name one: {folders}.")
    return paths[0], folds or task.parts[0].folds


def _unknown(name: str) -> ModelFolderError:
    names = [each.name for each in catalog.tasks()] + [model.name for model in imported_models()]
    near = difflib.get_close_matches(name, names, n=3)
    message = f"'{name}' is neither a known model nor an existing file or folder."
    if near:
        return ModelFolderError(f"{message} Did you mean {' or '.join(near)}?")
    return ModelFolderError(message, shell="'tuckerseg models' lists the names.")


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if os.path.isdir(entry) and not entry.name.startswith("."))
    except OSError:
        return []


def other_places() -> list[Path]:
    """Folders beside the cache in which unfinished files may lie: of models, of downloads, temporary ones."""
    return [models_folder(), models_folder() / IMPORTED, models_folder() / "downloads", *temporary_places()]
