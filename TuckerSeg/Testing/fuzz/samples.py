"""Valid inputs, small, that the targets damage."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import zipfile
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

LABELS = {"background": 0, "ball": 1, "cube": 2}
SHAPE = (20, 18, 22)  # (Z, Y, X)
SPACING_MM = (3.0, 2.5, 2.0)


class Samples:
    """Inputs that are valid, made when they are first asked for.

    Args:
        folder: Empty; inputs are kept there, and copied where they are damaged.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    @cached_property
    def model_folder(self) -> Path:
        """An nnU-Net results folder with the networks of two folds' names, one trained."""
        return _write_model_folder(self.folder, labels=LABELS, patch_shape=(16, 16, 16))

    @cached_property
    def plans(self) -> dict[str, Any]:
        return json.loads((self.model_folder / "plans.json").read_text())

    @cached_property
    def dataset(self) -> dict[str, Any]:
        return json.loads((self.model_folder / "dataset.json").read_text())

    @property
    def checkpoint_file(self) -> Path:
        return self.model_folder / "fold_0" / "checkpoint_final.pth"

    @cached_property
    def compressed_file(self) -> Path:
        """A ``.tuckerseg`` file of a compressed network, with a recipe."""
        from TuckerSegLib import compress, load_model
        from TuckerSegLib.compression.tucker.spec import Spec

        path = self.folder / "compressed.tuckerseg"
        compress(load_model(self.model_folder), Spec(rank_ratio=0.5, minimum_rank=2, rank_multiple=1)).save(path)
        return path

    def copy_model(self, folder: Path, plans: bytes | None = None, dataset: bytes | None = None) -> Path:
        """The model folder with other documents in it; the checkpoint is a link to the same file."""
        target = folder / "Dataset001_Small" / self.model_folder.name
        (target / "fold_0").mkdir(parents=True)
        os.link(self.checkpoint_file, target / "fold_0" / self.checkpoint_file.name)
        for name, content in (("plans.json", plans), ("dataset.json", dataset)):
            (target / name).write_bytes((self.model_folder / name).read_bytes() if content is None else content)
        return target

    @cached_property
    def model_entries(self) -> list[tuple[str, bytes]]:
        """Names and contents of a zip of the model."""
        top = self.model_folder.parent.parent
        files = sorted(path for path in self.model_folder.rglob("*") if path.is_file())
        return [(path.relative_to(top).as_posix(), path.read_bytes()) for path in files]

    def bomb(self, number: int) -> bytes:
        """A zip of the model whose entry of a number unpacks to 700 MB."""
        path = self.folder / f"bomb-{number}.zip"
        if not path.exists():
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                for index, (name, content) in enumerate(self.model_entries):
                    with archive.open(name, "w") as file:
                        for _ in range(700 if index == number else 0):
                            file.write(b" " * 1_000_000)
                        file.write(content)
        return path.read_bytes()

    @cached_property
    def voxels(self) -> np.ndarray:
        """(Z, Y, X) int16, a ball in air."""
        place = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"))
        center = np.array(SHAPE)[:, None, None, None] / 2
        return np.where(np.linalg.norm(place - center, axis=0) < 6, 100, -900).astype(np.int16)

    @cached_property
    def nifti_file(self) -> Path:
        import nibabel

        path = self.folder / "ct.nii.gz"
        image = nibabel.Nifti1Image(self.voxels.transpose(2, 1, 0), np.diag([*SPACING_MM[::-1], 1.0]))
        image.set_qform(image.affine, 1)
        nibabel.save(image, path)
        return path


def _write_model_folder(*arguments: Any, **settings: Any) -> Path:
    """See the helper of that name that all tests share."""
    file = Path(__file__).resolve().parents[1] / "small_models.py"
    spec = importlib.util.spec_from_file_location("small_models_of_all_tests", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.write_model_folder(*arguments, **settings)


def fresh(folder: Path) -> Path:
    """The folder, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
