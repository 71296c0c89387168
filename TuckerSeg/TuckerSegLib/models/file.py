"""A model as a ``.tuckerseg`` file, and in the cache."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import tensor_file
from ..cache import Cache
from ..errors import ModelFileError
from ..nnunet.plans import ModelPlans
from ..records.compression import CompressionRecipe, Cost
from ..records.serialization import from_json
from .model import SegmentationModel

if TYPE_CHECKING:
    import torch


def read_model_file(path: str | Path) -> SegmentationModel:
    """Read a ``.tuckerseg`` file.

    Raises:
        ModelFileError: Damaged, newer, or not such a file.
    """
    return _model_of(path, *tensor_file.read_tensors(Path(path)))


def read_model_facts(path: str | Path) -> SegmentationModel:
    """Read a ``.tuckerseg`` file but for its weights; see :meth:`SegmentationModel.without_weights`.

    Raises:
        ModelFileError: See :func:`read_model_file`.
    """
    return _model_of(path, *tensor_file.read_shapes(Path(path)))


def _model_of(path: str | Path, tensors: dict[str, torch.Tensor], document: dict[str, Any]) -> SegmentationModel:
    try:
        return SegmentationModel(
            name=document["name"],
            plans=from_json(ModelPlans, document["plans"]),
            folds=tuple(document["folds"]),
            recipes=tuple(from_json(CompressionRecipe, recipe) for recipe in document["recipes"]),
            source_sha256=document["source_sha256"],
            original_cost=from_json(Cost, document["original_cost"]),
            cost=from_json(Cost, document["cost"]),
            head_path=document["head_path"],
            weights=tensors,
        )
    except (KeyError, TypeError) as error:
        raise ModelFileError(f"{path}: the header is incomplete ({error}). Make the file again.") from error


Read = Callable[[Path], SegmentationModel]


def cached_model(cache: Cache, key: str, read: Read = read_model_file) -> SegmentationModel | None:
    """A compressed model from the cache; one that cannot be read is discarded with a warning.

    Args:
        read: The whole file, or its facts alone.
    """
    path = cache.find("models", key)
    if path is None:
        return None
    try:
        return read(path)
    except ModelFileError as error:
        cache.discard("models", key)
        warnings.warn(f"A cached file could not be used and is made again: {error}", stacklevel=3)
        return None
