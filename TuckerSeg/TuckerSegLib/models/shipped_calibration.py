"""The calibration that comes with the built-in model, so that its first compression needs none."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from .. import catalog, tensor_file
from ..errors import ModelFileError
from .calibration import ModelCalibration
from .loading import identity_of_files
from .model import SegmentationModel

PATH = catalog.RESOURCES / "Models" / "calibration.safetensors"


def shipped_calibration(model: SegmentationModel) -> ModelCalibration | None:
    """The calibration of a built-in model; None for any other, also one that only claims to be made of its files.

    A damaged one counts as none: the model is calibrated on the volume at hand, as others are.
    """
    return _calibration(PATH) if _belongs(model) else None


def shipped_stamp(model: SegmentationModel) -> str | None:
    """Checksum of the calibration that :func:`shipped_calibration` gives."""
    return tensor_file.checksum_of(PATH) if _belongs(model) else None


def write_shipped_calibration(model: SegmentationModel, calibration: ModelCalibration, path: Path = PATH) -> None:
    """Write a calibration of a built-in model in its compact form.

    Args:
        model: That was calibrated; an original with its weights.
        calibration: Of all its folds. Names and identifiers of its volumes are kept, no voxels.
        path: Where.

    Raises:
        OutputError: It cannot be written.
    """
    from ..compression.compact_calibration import to_compact_tensors

    tensors = {
        f"{fold}:{name}": tensor
        for fold, each in calibration.folds.items()
        for name, tensor in to_compact_tensors(each, model.network(fold)).items()
    }
    names = {"volumes": list(calibration.volumes), "volume_ids": list(calibration.volume_ids)}
    tensor_file.write_tensors(path, tensors, {"source_sha256": model.source_sha256, "folds": model.folds, **names})


def read_shipped_calibration(path: Path) -> ModelCalibration:
    """Read what :func:`write_shipped_calibration` wrote.

    Raises:
        ModelFileError: It is missing or damaged.
    """
    from ..compression.compact_calibration import from_compact_tensors

    tensors, document = tensor_file.read_tensors(path)
    of_folds: dict[str, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        fold, _, leaf = name.partition(":")
        of_folds.setdefault(fold, {})[leaf] = tensor
    folds = {fold: from_compact_tensors(own) for fold, own in of_folds.items()}
    return ModelCalibration(folds, tuple(document["volumes"]), tuple(document["volume_ids"]))


@functools.cache
def _calibration(path: Path) -> ModelCalibration | None:
    try:
        return read_shipped_calibration(path)
    except (ModelFileError, KeyError):
        return None


@functools.cache
def _source(path: Path) -> tuple[str, tuple[str, ...]] | None:
    """Digest of the files of the model that was calibrated, and its folds."""
    try:
        document = tensor_file.read_shapes(path)[1]
        return document["source_sha256"], tuple(document["folds"])
    except (ModelFileError, KeyError):
        return None


def _belongs(model: SegmentationModel) -> bool:
    """Whether a model was read from the very files that were calibrated before the program shipped.

    What a file claims to be made of does not count: the identity of its weights is another.
    """
    if model.recipes or (model.source_sha256, tuple(model.folds)) != _source(PATH):
        return False
    return model.weights.identity == identity_of_files(model.source_sha256, model.folds)
