"""Finds an nnU-Net v2 model in a folder or zip and reads its files. Knows nothing of networks.

Follows the layout of nnunetv2 2.x: ``DatasetXXX_Name/Trainer__Plans__Configuration/`` with
``plans.json``, ``dataset.json`` and ``fold_N/checkpoint_final.pth``.
"""

from __future__ import annotations

import hashlib
import io
import json
import threading
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelFolderError, UnsupportedModelError

CHECKPOINT_NAMES = ("checkpoint_final.pth", "checkpoint_best.pth")
EXPECTED = (
    "an nnU-Net v2 results folder (plans.json, dataset.json, fold_0/checkpoint_final.pth), "
    "a DatasetXXX folder above it, or a zip of either"
)
PREFERRED_CONFIGURATIONS = ("3d_fullres", "3d_halfiso", "3d_lowres")

# What training wrote into checkpoints beside weights: numpy scalars of the logger.
_NUMPY_DTYPES = ("Float64DType", "Float32DType", "Float16DType", "Int64DType", "Int32DType", "BoolDType")
_ONE_CHECKPOINT = threading.Lock()  # what torch may unpickle is one list for all threads


@dataclass(frozen=True)
class ModelFolder:
    """One trained nnU-Net configuration on disk.

    Attributes:
        root: Folder or place inside a zip that holds ``plans.json``.
        container: The folder or zip that the user named; what error messages show.
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
            ModelFolderError: The file is missing or is not JSON.
        """
        try:
            document = json.loads((self.root / name).read_text(encoding="utf-8"))
        except (FileNotFoundError, KeyError) as error:
            raise ModelFolderError(f"{self.container}: {name} is missing in {self.root}.") from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ModelFolderError(f"{self.container}: {name} is not valid JSON ({error}).") from error
        if not isinstance(document, dict):
            raise ModelFolderError(
                f"{self.container}: {name} should hold a JSON object, not a {type(document).__name__}."
            )
        return document

    def checkpoint_file(self, fold: str) -> Path | zipfile.Path:
        return self.root / f"fold_{fold}" / self.checkpoint

    def read_checkpoint(self, fold: str) -> dict[str, Any]:
        """Read a checkpoint without running any code it may hold (``weights_only=True``).

        Returns:
            nnU-Net's checkpoint dictionary; ``network_weights`` has plain parameter names
            (``module.`` and ``_orig_mod.`` prefixes of wrapped networks are taken off).

        Raises:
            ModelFolderError: Not a checkpoint, damaged, or without weights.
        """
        import torch

        file = self.checkpoint_file(fold)
        where = f"{self.container}: fold_{fold}/{self.checkpoint}"
        source: Any = file if isinstance(file, Path) else io.BytesIO(file.read_bytes())
        try:
            _check_sums(source)
            with _ONE_CHECKPOINT, torch.serialization.safe_globals(_safe_globals()):
                checkpoint = torch.load(source, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for a damaged file; all mean the same to the user
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ModelFolderError(
                f"{where} cannot be read as an nnU-Net checkpoint ({reason}). Copy or download the model again."
            ) from error
        if not isinstance(checkpoint, dict) or "network_weights" not in checkpoint:
            found = sorted(checkpoint) if isinstance(checkpoint, dict) else type(checkpoint).__name__
            raise ModelFolderError(f"{where}: the key 'network_weights' is missing; found {found}.")
        checkpoint["network_weights"] = {
            name.removeprefix("module.").removeprefix("_orig_mod."): tensor
            for name, tensor in checkpoint["network_weights"].items()
        }
        return checkpoint

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
            except (OSError, zipfile.BadZipFile, zlib.error) as error:
                raise ModelFolderError(
                    f"{self.container}: {file.name} cannot be read ({error}). Copy or download the model again."
                ) from error
        return digest.hexdigest()


def find_model_folder(path: str | Path, folds: tuple[str, ...] | None = None) -> ModelFolder:
    """Find the nnU-Net model in a results folder, a ``DatasetXXX`` folder above it, or a zip of either.

    Args:
        path: What the user named.
        folds: Folds to use; None takes all that are there.

    Raises:
        ModelFolderError: Nothing usable is there; the message names what is missing.
        UnsupportedModelError: Only configurations that are not handled (2D, cascade).
    """
    container = Path(path).expanduser()
    if not container.exists():
        raise ModelFolderError(
            f"{container}: no such file or folder. Expected an nnU-Net v2 results folder or its zip."
        )
    root = _open(container)
    candidates = _folders_with_plans(root)
    if not candidates:
        raise ModelFolderError(f"{container}: plans.json is missing. Expected {EXPECTED}.")
    chosen = _choose(candidates, container)
    if not (chosen / "dataset.json").exists():
        raise ModelFolderError(f"{container}: dataset.json is missing beside plans.json in {chosen}.")
    available = _available_folds(chosen)
    if not available:
        raise ModelFolderError(
            f"{container}: no checkpoint found. Expected {chosen}/fold_0/{CHECKPOINT_NAMES[0]} "
            f"(or fold_1 ..., fold_all, or {CHECKPOINT_NAMES[1]})."
        )
    wanted = folds or tuple(fold for fold in available if fold != "all") or ("all",)
    missing = [fold for fold in wanted if fold not in available]
    if missing:
        raise ModelFolderError(f"{container}: fold {', '.join(missing)} is missing; found {', '.join(available)}.")
    names = {available[fold] for fold in wanted}
    if len(names) > 1:
        raise ModelFolderError(f"{container}: the folds have different checkpoints ({', '.join(sorted(names))}).")
    return ModelFolder(chosen, container, tuple(wanted), names.pop())


def _open(container: Path) -> Path | zipfile.Path:
    if container.is_dir():
        return container
    try:
        archive = zipfile.ZipFile(container)
    except (zipfile.BadZipFile, OSError) as error:
        raise ModelFolderError(
            f"{container} is neither a folder nor a readable zip ({error}). Expected {EXPECTED}."
        ) from error
    return zipfile.Path(archive)


def _folders_with_plans(root: Path | zipfile.Path, depth: int = 3) -> list[Path | zipfile.Path]:
    if (root / "plans.json").exists():
        return [root]
    if depth == 0:
        return []
    folders = sorted((entry for entry in root.iterdir() if entry.is_dir()), key=lambda entry: entry.name)
    return [found for folder in folders for found in _folders_with_plans(folder, depth - 1)]


def _choose(candidates: list[Path | zipfile.Path], container: Path) -> Path | zipfile.Path:
    """The only candidate, or the best 3D configuration of one dataset; several datasets are the user's choice."""
    if len(candidates) == 1:
        return candidates[0]
    for configuration in PREFERRED_CONFIGURATIONS:
        matches = [folder for folder in candidates if folder.name.endswith(f"__{configuration}")]
        if len(matches) == 1:
            return matches[0]
        if matches:
            break
    names = ", ".join(str(folder.name) for folder in candidates)
    if all(folder.name.endswith("__2d") for folder in candidates):
        raise UnsupportedModelError(f"{container}: only 2D models found ({names}); a 3D configuration is needed.")
    raise ModelFolderError(f"{container} holds several models ({names}). Name one of these folders.")


def _available_folds(root: Path | zipfile.Path) -> dict[str, str]:
    found = {}
    for entry in root.iterdir():
        if entry.is_dir() and entry.name.startswith("fold_"):
            name = next((name for name in CHECKPOINT_NAMES if (entry / name).exists()), None)
            if name:
                found[entry.name.removeprefix("fold_")] = name
    return dict(sorted(found.items()))


def _check_sums(source: Path | io.BytesIO) -> None:
    """A checkpoint is a zip with a checksum per tensor, which torch does not look at."""
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"the checksum of {damaged} does not match")
    if isinstance(source, io.BytesIO):
        source.seek(0)


def _safe_globals() -> list[Any]:
    import numpy

    scalar = numpy._core.multiarray.scalar if hasattr(numpy, "_core") else numpy.core.multiarray.scalar
    kinds = [getattr(numpy.dtypes, name) for name in _NUMPY_DTYPES]
    # The same function under its names in numpy 1 and numpy 2.
    return [(scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar"), numpy.dtype, *kinds]
