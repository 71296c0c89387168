"""What an export is asked to write, and what it has written."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path

from ..errors import SpecError

WEIGHTS = ("fp32", "fp16")
DATASET_NAME = re.compile(r"Dataset\d{3}_\w[\w.-]*")
TRAINER_FOLDER = re.compile(r"\w+__\w+__\w+")


@dataclass(frozen=True)
class ExportSettings:
    """How a model is written; what is None is taken from the model or the format.

    Attributes:
        overwrite: Replace what is there.
        dataset_name: nnU-Net's ``DatasetXXX_Name``.
        trainer_folder: nnU-Net's ``Trainer__Plans__Configuration``.
        weights: Precision of the weights in the file; the file is computed with in fp32.
        dynamic_batch: Leave the number of patches per call open.
        opset: Version of the ONNX operators.
    """

    overwrite: bool = False
    dataset_name: str | None = None
    trainer_folder: str | None = None
    weights: str | None = None
    dynamic_batch: bool | None = None
    opset: int | None = None

    def __post_init__(self) -> None:
        if self.weights not in (None, *WEIGHTS):
            raise SpecError(f"The weights should be one of {', '.join(WEIGHTS)}; found '{self.weights}'.")
        if self.dataset_name is not None and not DATASET_NAME.fullmatch(self.dataset_name):
            raise SpecError(
                f"nnU-Net's dataset names are like Dataset123_Name, with three digits; found '{self.dataset_name}'."
            )
        if self.trainer_folder is not None and not TRAINER_FOLDER.fullmatch(self.trainer_folder):
            raise SpecError(
                "nnU-Net's folders are like nnUNetTrainer__nnUNetPlans__3d_fullres (trainer, plans, configuration); "
                f"found '{self.trainer_folder}'."
            )

    def require_only(self, options: tuple[str, ...], format_name: str) -> None:
        """Raise SpecError where something is set that a format does not know."""
        for field in fields(self):
            if field.name not in ("overwrite", *options) and getattr(self, field.name) is not None:
                words = field.name.replace("_", "-")
                raise SpecError(f"--{words} means nothing to the format {format_name}; leave it out.")


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        place: Folder or file to name to other programs.
        files: All files.
        difference: Largest difference of a logit from the model's, relative to the largest logit, on one patch; None
            where nothing here can run what was written.
    """

    place: Path
    files: tuple[Path, ...]
    difference: float | None
