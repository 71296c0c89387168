"""Finds an nnU-Net v2 model in a folder or zip and reads its files. Knows nothing of networks.

Follows the layout of nnunetv2 2.x: ``DatasetXXX_Name/Trainer__Plans__Configuration/`` with
``plans.json``, ``dataset.json`` and ``fold_N/checkpoint_final.pth``.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelFolderError, UnsupportedModelError
from ..files.lfs import lfs_pointer
from ..printable import shown
from ..records.job import CHECKPOINTS
from ..text_files import MOST_JSON_BYTES, parse_object
from .archives import DAMAGES, check_archive, split_archive
from .checkpoint import read_checkpoint

CHECKPOINT_NAMES = ("checkpoint_final.pth", "checkpoint_best.pth")  # in the order in which they are taken
V1_CHECKPOINT = "model_final_checkpoint.model"
EXPECTED = (
    "an nnU-Net v2 results folder (plans.json, dataset.json, fold_0/checkpoint_final.pth), "
    "a DatasetXXX folder above it, or a zip of either"
)
PREFERRED_CONFIGURATIONS = ("3d_fullres", "3d_halfiso", "3d_lowres", "3d_cascade_fullres", "2d")


@dataclass(frozen=True)
class ModelFolder:
    """One trained nnU-Net configuration on disk.

    Attributes:
        root: Folder or place inside a zip that holds ``plans.json``.
        container: The folder or zip that the user named, of a place in a zip the zip; what error messages show.
        folds: Fold names in use, as ``("0", "1")`` or ``("all",)``.
        checkpoint: File name of the checkpoint inside each fold's folder.
    """

    root: Path | zipfile.Path
    container: Path
    folds: tuple[str, ...]
    checkpoint: str

    def read_json(self, name: str) -> dict[str, Any]:
        """Read ``plans.json`` or ``dataset.json``.

        Raises:
            ModelFolderError: The file is missing, too large or not JSON.
        """
        where = f"{self.container}: {name}"
        file = self.root / name
        if not file.is_file():
            raise ModelFolderError(f"{where} is missing in {self.root}.")
        if pointer := lfs_pointer(file):
            raise ModelFolderError(f"{where} {pointer}")
        try:
            with file.open("rb") as stream:
                content = stream.read(MOST_JSON_BYTES + 1)
        except DAMAGES as error:
            raise ModelFolderError(f"{where} cannot be read ({error}). Copy or download the model again.") from error
        if len(content) > MOST_JSON_BYTES:
            raise ModelFolderError(f"{where} should have at most {MOST_JSON_BYTES / 1e6:.0f} MB; it has more.")
        return parse_object(content, where, ModelFolderError)

    def sibling(self, own: str, other: str) -> tuple[Path | zipfile.Path, bool]:
        """Where nnU-Net puts another configuration of the same trainer and plans: in the folder beside this one.

        Args:
            own: Name of this configuration, by which the folder's name ends.
            other: Name of the other one.

        Returns:
            Its folder, or place in the zip, and whether there is a model that this one's name leads to.
        """
        root = Path(os.path.abspath(self.root)) if isinstance(self.root, Path) else self.root
        beside = root.parent / (root.name.removesuffix(f"__{own}") + f"__{other}")
        plans = beside / "plans.json"  # the other's name is from a file: it may be one that no system takes
        is_there = os.path.isfile(plans) if isinstance(plans, Path) else plans.is_file()
        return beside, is_there and root.name.endswith(f"__{own}")

    def checkpoint_file(self, fold: str) -> Path | zipfile.Path:
        """The checkpoint of a fold; not read."""
        return self.root / f"fold_{fold}" / self.checkpoint

    def read_checkpoint(self, fold: str) -> dict[str, Any]:
        """Read the checkpoint of a fold without running any code it may hold; see :func:`checkpoint.read_checkpoint`.

        Raises:
            ModelFolderError: Not a checkpoint, damaged, or without weights.
        """
        return read_checkpoint(self.checkpoint_file(fold), f"{self.container}: fold_{fold}/{self.checkpoint}")

    def files(self) -> list[Path | zipfile.Path]:
        """Every file that decides what the model computes."""
        return [self.root / "plans.json", self.root / "dataset.json", *map(self.checkpoint_file, self.folds)]

    def sha256(self) -> str:
        """SHA-256 over plans, dataset.json and the checkpoints in use, as a hexadecimal string.

        Raises:
            ModelFolderError: A file cannot be read; in a zip, perhaps because it is damaged.
        """
        digest = hashlib.sha256()
        for file in self.files():
            try:
                with file.open("rb") as stream:
                    digest.update(hashlib.file_digest(stream, "sha256").digest())
            except DAMAGES as error:
                raise ModelFolderError(
                    f"{self.container}: {file.name} cannot be read ({error}). Copy or download the model again."
                ) from error
        return digest.hexdigest()


def find_model_folder(
    path: str | Path,
    folds: tuple[str, ...] | None = None,
    checkpoint: str | None = None,
    configuration: str | None = None,
) -> ModelFolder:
    """Find the nnU-Net model in a results folder, a ``DatasetXXX`` folder above it, or a zip of either.

    Args:
        path: What the user named; it may go on inside a zip, as ``model.zip/Dataset001_A/...__2d``.
        folds: Folds to use; None takes all that are there.
        checkpoint: Which of nnU-Net's checkpoints of each fold: ``final``, ``best`` or ``latest``; None takes the final
            one, else the best.
        configuration: Which of several, as ``2d``, or the whole name of its folder; None takes the one that nnU-Net
            would rather use.

    Raises:
        ModelFolderError: Nothing usable is there; the message names what is missing.
        UnsupportedModelError: A model of nnU-Net v1.
    """
    container = Path(path).expanduser()
    try:
        container, inside = split_archive(container)
        if not os.path.exists(container):
            raise ModelFolderError(
                f"{container}: no such file or folder. Expected an nnU-Net v2 results folder or its zip."
            )
        return _model_folder(container, inside, folds, checkpoint, configuration)
    except OSError as error:  # folders that must not be read, names that are too long
        raise ModelFolderError(f"{container} cannot be read ({error}). Expected {EXPECTED}.") from error


def _model_folder(
    container: Path, inside: str, folds: tuple[str, ...] | None, checkpoint: str | None, configuration: str | None
) -> ModelFolder:
    """The best model that a folder or zip holds, with the folds that are wanted."""
    root = _open(container)
    if inside:
        root = root / f"{inside}/"
        if not root.exists():
            raise ModelFolderError(f"{container} holds no folder {shown(inside)}. Expected {EXPECTED}.")
    candidates = _folders_with("plans.json", root)
    if not candidates:
        raise _nothing_there(container, root)
    model_folder = _choose(candidates, container, configuration)
    if not (model_folder / "dataset.json").is_file():
        raise ModelFolderError(f"{container}: dataset.json is missing beside plans.json in {model_folder}.")
    wanted = CHECKPOINT_NAMES if checkpoint is None else (f"checkpoint_{checkpoint}.pth",)
    available = _available_folds(model_folder, wanted)
    if not available:
        others = _available_folds(model_folder, tuple(f"checkpoint_{each}.pth" for each in CHECKPOINTS))
        raise ModelFolderError(
            f"{container}: no {' or '.join(wanted)} found; expected it in {model_folder}/fold_0 (or fold_1 ..., "
            f"fold_all). {_found_instead(others)}"
        )
    used = folds or tuple(fold for fold in available if fold != "all") or ("all",)
    if len(set(used)) < len(used):
        raise ModelFolderError(f"{container}: each fold should be named once; found {shown(used)}.")
    missing = [fold for fold in used if fold not in available]
    if missing:
        raise ModelFolderError(f"{container}: fold {', '.join(missing)} is missing; found {', '.join(available)}.")
    names = {available[fold] for fold in used}
    if len(names) > 1:
        raise ModelFolderError(f"{container}: the folds have different checkpoints ({', '.join(sorted(names))}).")
    return ModelFolder(model_folder, container, tuple(used), names.pop())


def _open(container: Path) -> Path | zipfile.Path:
    """A folder as it is; a zip, checked, as a place to look into."""
    if os.path.isdir(container):
        return container
    if not os.path.isfile(container):  # which may have no end, or never begin
        raise ModelFolderError(f"{container} is a device or a pipe. Expected {EXPECTED}.")
    if pointer := lfs_pointer(container):
        raise ModelFolderError(f"{container} {pointer}")
    try:
        archive = zipfile.ZipFile(container)
    except DAMAGES as error:
        raise ModelFolderError(
            f"{container} is neither a folder nor a readable zip ({error}). Expected {EXPECTED}."
        ) from error
    check_archive(container)
    return zipfile.Path(archive)


def _folders_with(name: str, root: Path | zipfile.Path, depth: int = 3) -> list[Path | zipfile.Path]:
    """Folders that hold a file of some name, from ``root`` down; none below one that holds it."""
    if (root / name).is_file():
        return [root]
    if depth == 0:
        return []
    folders = sorted((entry for entry in root.iterdir() if entry.is_dir()), key=lambda entry: entry.name)
    return [match for folder in folders for match in _folders_with(name, folder, depth - 1)]


def _choose(candidates: list[Path | zipfile.Path], container: Path, configuration: str | None) -> Path | zipfile.Path:
    """The only candidate, or the preferred configuration of one dataset; several datasets are the user's choice."""
    if configuration is not None:
        matches = [each for each in candidates if _is_of(each, container, configuration)]
        if not matches:
            names = ", ".join(shown(_folder_name(each, container)) for each in candidates)
            raise ModelFolderError(f"{container} holds no configuration {shown(configuration)}; it has {names}.")
        candidates = matches
    if len(candidates) == 1:
        return candidates[0]
    for configuration in PREFERRED_CONFIGURATIONS:
        matches = [folder for folder in candidates if folder.name.endswith(f"__{configuration}")]
        if len(matches) == 1:
            return matches[0]
        if matches:
            break
    names = ", ".join(str(folder.name) for folder in candidates)
    raise ModelFolderError(f"{container} holds several models ({names}). Name one of these folders.")


def _folder_name(folder: Path | zipfile.Path, container: Path) -> str:
    """Its name; of a container that is the model itself, the container's own."""
    return folder.name or Path(os.path.abspath(container)).name


def _is_of(folder: Path | zipfile.Path, container: Path, configuration: str) -> bool:
    """Whether a folder is that of a configuration, as nnU-Net names folders."""
    name = _folder_name(folder, container)
    return name == configuration or name.endswith(f"__{configuration}")


def _nothing_there(container: Path, root: Path | zipfile.Path) -> ModelFolderError | UnsupportedModelError:
    """The error of a place without plans.json, which names what the place is where that is known."""
    if _folders_with("plans.pkl", root) or _folders_with(V1_CHECKPOINT, root):
        return UnsupportedModelError(
            f"{container} holds a model of nnU-Net v1 (plans.pkl, {V1_CHECKPOINT}), which is not read. "
            f"Expected {EXPECTED}."
        )
    folder = Path(os.path.abspath(container))
    if os.path.isfile(container) and _folders_with("data.pkl", root):
        return ModelFolderError(
            f"{container} is a checkpoint, the weights alone. Give the folder of its model, which has plans.json: that "
            f"is {folder.parents[1]}, where it lies as nnU-Net left it."
        )
    if folder.name.startswith("fold_") and (folder.parent / "plans.json").is_file():
        fold = folder.name.removeprefix("fold_")
        return ModelFolderError(
            f"{container} is one fold of a model. Give the folder above it, {folder.parent}, and name the fold {fold}.",
            shell=f"That is --model '{folder.parent}' --folds {fold}.",
        )
    return ModelFolderError(f"{container}: plans.json is missing. Expected {EXPECTED}.")


def _found_instead(available: dict[str, str]) -> str:
    """What there is besides the checkpoint that is wanted, as a sentence."""
    if not available:
        return "No fold has a checkpoint."
    kinds = sorted({name.removeprefix("checkpoint_").removesuffix(".pth") for name in available.values()})
    return f"Found {', '.join(sorted(set(available.values())))}: name the checkpoint {' or '.join(kinds)}."


def _available_folds(root: Path | zipfile.Path, names: tuple[str, ...]) -> dict[str, str]:
    """Fold to the file name of its checkpoint, the first of ``names`` that it has, of every fold that has one."""
    checkpoints = {}
    for entry in root.iterdir():
        if entry.is_dir() and entry.name.startswith("fold_"):
            name = next((name for name in names if (entry / name).is_file()), None)
            if name:
                checkpoints[entry.name.removeprefix("fold_")] = name
    return dict(sorted(checkpoints.items()))
