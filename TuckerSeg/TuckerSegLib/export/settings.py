"""Settings of an export, and its result."""

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
    """How a model is written; None takes the model's own value or the format's default.

    Attributes:
        overwrite: Replace files that exist.
        dataset_name: nnU-Net's ``DatasetXXX_Name``.
        trainer_folder: nnU-Net's ``Trainer__Plans__Configuration``.
        weights: Precision of the weights in the file, ``fp32`` or ``fp16``; the network computes in fp32 with either.
        dynamic_batch: Allow any number of patches per call.
        opset: Version of the ONNX operators.

    Raises:
        SpecError: A value that the formats do not have.
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
        """Refuse settings that a format does not use.

        Args:
            options: Fields that the format uses.
            format_name: Its name, for the message.

        Raises:
            SpecError: Another field is set.
        """
        for field in fields(self):
            if field.name not in ("overwrite", *options) and getattr(self, field.name) is not None:
                words = field.name.replace("_", "-")
                raise SpecError(f"--{words} means nothing to the format {format_name}; leave it out.")


@dataclass(frozen=True)
class Exported:
    """Result of an export.

    Attributes:
        place: The folder or file that other programs are given.
        files: All files that were written.
        difference: Largest difference of the logits of one patch from the model's, relative to the largest logit; None
            where no program is installed that runs the exported network.
    """

    place: Path
    files: tuple[Path, ...]
    difference: float | None
