"""A model as a ``.tuckerseg`` file, and in the cache.

A model is looked for in the cache by what decides it (see ``model.py``), and what is found there must say the same of
itself: under which key it was stored, with which plans, folds and recipes. Else it is discarded with a warning.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import tensor_file
from ..cache import Cache, entry_name
from ..errors import ModelFileError, TuckerSegError, UnsupportedModelError
from ..nnunet.plans import ModelPlans
from ..records.compression import CompressionRecipe, Cost
from ..records.serialization import from_json
from .checking import check_model
from .model import SegmentationModel, Weights


def read_model_file(path: str | Path, entry: str | None = None) -> SegmentationModel:
    """Read a ``.tuckerseg`` file.

    Args:
        entry: Of a cache, which one the file must be; None: any file.

    Raises:
        ModelFileError: Damaged, newer, not such a file, or another entry.
        UnsupportedModelError: Its network is of no kind that is known.
    """
    tensors, document = tensor_file.read_tensors(Path(path), entry)
    return _model_of(path, Weights(tensors, f"file {document['sha256']}"), document)


def read_model_facts(path: str | Path, entry: str | None = None) -> SegmentationModel:
    """Read a ``.tuckerseg`` file but for its weights; see :meth:`SegmentationModel.without_weights`.

    What identifies the weights is then a mere claim, and no model of checked weights has this one's key;
    ``loading.load_facts`` checks it.

    Args:
        entry: As for :func:`read_model_file`.

    Raises:
        ModelFileError, UnsupportedModelError: See :func:`read_model_file`.
    """
    tensors, document = tensor_file.read_shapes(Path(path), entry)
    return _model_of(path, Weights(tensors, f"claimed {document.get('sha256')}"), document)


def read_checked_facts(path: str | Path, sha256: str) -> SegmentationModel:
    """Read a file but for its weights, which ``tensor_file.checked_sha256`` has looked at.

    Args:
        sha256: What that gave.

    Raises:
        ModelFileError, UnsupportedModelError: See :func:`read_model_file`; or the file was changed meanwhile.
    """
    tensors, document = tensor_file.read_shapes(Path(path))
    if document.get("sha256") != sha256:
        raise ModelFileError(f"{path} was changed while it was read. Try again.")
    return _model_of(path, Weights(tensors, f"file {sha256}"), document)


@dataclass(frozen=True)
class _Header:
    """What a file's document holds of a :class:`SegmentationModel`."""

    name: str
    plans: ModelPlans
    folds: tuple[str, ...]
    recipes: tuple[CompressionRecipe, ...]
    source_sha256: str
    original_cost: Cost
    cost: Cost
    head_path: str | None


def _model_of(path: str | Path, weights: Weights, document: dict[str, Any]) -> SegmentationModel:
    try:
        model = SegmentationModel(**vars(from_json(_Header, document)), weights=weights)
        check_model(model)
        return model
    except UnsupportedModelError as error:
        raise UnsupportedModelError(f"{path}: {error}") from error
    except TuckerSegError as error:
        raise ModelFileError(f"{path} is damaged or was changed: {error} Make the file again.") from error


Read = Callable[[Path, str], SegmentationModel]


def cached_model(cache: Cache, asked: SegmentationModel, read: Read = read_model_file) -> SegmentationModel | None:
    """A model from the cache; one that cannot be read, or is another than was asked for, is discarded with a warning.

    Args:
        asked: What was to be made, see ``SegmentationModel.to_be_made``.
        read: The whole file, or its facts alone.
    """

    def known(found: SegmentationModel) -> SegmentationModel:
        return replace(found, name=asked.name, weights=Weights(found.weights, asked.weights.identity))

    found = stored_model(cache, asked.key, lambda found: known(found).key == asked.key, read)
    return found and replace(known(found), plans=asked.plans)


def stored_model(
    cache: Cache, key: str, belongs: Callable[[SegmentationModel], bool], read: Read = read_model_file
) -> SegmentationModel | None:
    """What lies under a key; one that cannot be read, or does not belong there, is discarded with a warning.

    Args:
        belongs: Whether a model is what the key means.
        read: See :func:`cached_model`.
    """
    path = cache.find("models", key)
    if path is None:
        return None
    try:
        found = read(path, entry_name("models", key))
        if belongs(found):
            return found
        reason = f"{path} holds another model than its name says."
    except (ModelFileError, UnsupportedModelError) as error:
        reason = str(error)
    cache.discard("models", key)
    warnings.warn(f"A cached file could not be used and is made again: {reason}", stacklevel=4)
    return None


def store_model(cache: Cache, key: str, model: SegmentationModel) -> None:
    """Keep a model under a key."""
    cache.store("models", key, lambda path: model.save(path, entry_name("models", key)))
