"""A model as a ``.tuckerseg`` file, and in the cache.

A model is looked for in the cache under its key (see ``model.py``), and the file that lies there must say the same of
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
from . import coded_weights
from .checking import check_facts, check_model, check_numbers
from .model import SegmentationModel, Weights


def read_model_file(path: str | Path, entry: str | None = None) -> SegmentationModel:
    """Read a model with its weights from a ``.tuckerseg`` file.

    Args:
        path: Of the file.
        entry: Name of the cache's entry that the file must be (``cache.entry_name``); None: any file.

    Raises:
        ModelFileError: Damaged, newer, not such a file, or another entry.
        UnsupportedModelError: Its network is of no kind that is known.
    """
    tensors, document = tensor_file.read_tensors(Path(path), entry)
    return model_of(path, Weights(tensors, f"file {document['sha256']}"), document)


def read_model_facts(path: str | Path, entry: str | None = None) -> SegmentationModel:
    """Read a model without its weights from a ``.tuckerseg`` file; see :meth:`SegmentationModel.without_weights`.

    The checksum of the weights is then a mere claim of the file, so the model's key is another than that of the model
    with checked weights; ``loading.load_facts`` checks it.

    Args:
        path: Of the file.
        entry: As for :func:`read_model_file`. That names and shapes of a cache's entry are those of its network was
            looked at when it was written, is sealed by the header's checksum, and is looked at again with the weights.

    Raises:
        ModelFileError, UnsupportedModelError: See :func:`read_model_file`.
    """
    tensors, document = tensor_file.read_shapes(Path(path), entry)
    weights = Weights(tensors, f"claimed {document.get('sha256')}")
    return model_of(path, weights, document, check_model if entry is None else check_facts)


def read_checked_facts(path: str | Path, sha256: str) -> SegmentationModel:
    """Read a model without its weights from a ``.tuckerseg`` file whose weights have been checked already.

    Args:
        path: Of the file.
        sha256: The file's checksum, as ``tensor_file.checked_sha256`` gave it.

    Raises:
        ModelFileError, UnsupportedModelError: See :func:`read_model_file`; or the file was changed meanwhile.
    """
    tensors, document = tensor_file.read_shapes(Path(path))
    if document.get("sha256") != sha256:
        raise ModelFileError(f"{path} was changed while it was read. Try again.")
    return model_of(path, Weights(tensors, f"file {sha256}"), document)


@dataclass(frozen=True)
class _Header:
    """Fields of a :class:`SegmentationModel` that a file's JSON document holds."""

    name: str
    plans: ModelPlans
    folds: tuple[str, ...]
    recipes: tuple[CompressionRecipe, ...]
    source_sha256: str
    original_cost: Cost
    cost: Cost
    head_path: str | None


def model_of(
    path: str | Path,
    weights: Weights,
    document: dict[str, Any],
    check: Callable[[SegmentationModel], None] = check_model,
) -> SegmentationModel:
    """The checked model of a file's document and tensors, coded ones decoded where they have values."""
    if "pack" in document:
        raise ModelFileError(
            f"{path} holds several networks, and this works on one. Segmenting runs them all; for one of them, give "
            "its own model."
        )
    try:
        described = coded_weights.described(weights, document)
        outlined = Weights(coded_weights.shapes(weights, described), weights.identity) if described else weights
        model = SegmentationModel(**vars(from_json(_Header, document)), weights=outlined)
        check(model)
        if not described or all(weights[name].is_meta for name in described):
            return model
        model = replace(model, weights=Weights(coded_weights.decoded(weights, described), weights.identity))
        check_numbers(model)
        return model
    except UnsupportedModelError as error:
        raise UnsupportedModelError(f"{path}: {error}") from error
    except TuckerSegError as error:
        raise ModelFileError(f"{path} is damaged or was changed: {error} Make the file again.") from error


Read = Callable[[Path, str], SegmentationModel]


def cached_model(cache: Cache, planned: SegmentationModel, read: Read = read_model_file) -> SegmentationModel | None:
    """A planned model, with its weights or facts, from the cache; None where it is not there.

    A file that cannot be read, or holds another model than the planned one, is discarded with a warning.

    Args:
        cache: Where it is looked for.
        planned: The model without weights, see ``SegmentationModel.planned``.
        read: Reads the whole file (``read_model_file``), or its facts alone (``read_model_facts``).
    """

    def identified(stored: SegmentationModel) -> SegmentationModel:
        return replace(stored, name=planned.name, weights=Weights(stored.weights, planned.weights.identity))

    stored = stored_model(cache, planned.key, lambda stored: identified(stored).key == planned.key, read)
    return stored and replace(identified(stored), plans=planned.plans)


def stored_model(
    cache: Cache, key: str, belongs: Callable[[SegmentationModel], bool], read: Read = read_model_file
) -> SegmentationModel | None:
    """The model that the cache keeps under a key; None where there is none.

    A file that cannot be read, or does not belong there, is discarded with a warning.

    Args:
        cache: Where it is looked for.
        key: Of the model.
        belongs: Tells whether a model that was read is the one that the key stands for.
        read: Reads the whole file, or its facts alone.
    """
    path = cache.find("models", key)
    if path is None:
        return None
    try:
        model = read(path, entry_name("models", key))
        if belongs(model):
            return model
        reason = f"{path} holds another model than its name says."
    except (ModelFileError, UnsupportedModelError) as error:
        reason = str(error)
    cache.discard("models", key)
    warnings.warn(f"A cached file could not be used and is made again: {reason}", stacklevel=4)
    return None


def store_model(cache: Cache, key: str, model: SegmentationModel) -> None:
    """Keep a model with its weights in the cache; where that cannot be written, nothing is kept.

    Args:
        cache: Keeps it among its ``models``.
        key: 32 hexadecimal digits under which it is found again, see ``cache.key_of``.
        model: With all of its weights.
    """
    cache.store("models", key, lambda path: model.save(path, entry_name("models", key)))
