"""Loads models from disk: nnU-Net's folders and zips, which are converted once and kept in the cache, and own files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .. import tensor_file
from ..cache import Cache, key_of
from ..compression.cost import count
from ..compression.heads import drop_unused_heads, split_head
from ..errors import ModelFolderError, SpecError
from ..file_digests import stamp_of
from ..forked_process import require_own_threads
from ..model_zoo import locate
from ..nnunet.compressed_architecture import original_architecture
from ..nnunet.folder import ModelFolder, find_model_folder
from ..nnunet.plans import ModelPlans
from ..nnunet.reading import read_plans, trained_by, with_documents
from ..nnunet.weights import network_with_weights
from .checking import check_values
from .model import ENGINE_VERSION, SegmentationModel, Weights, weights_of
from .model_file import Read, read_checked_facts, read_model_facts, read_model_file, store_model, stored_model

if TYPE_CHECKING:
    import torch


def load_model(
    path: str | Path,
    folds: tuple[str, ...] | None = None,
    cache: Cache | None = None,
    checkpoint: str | None = None,
) -> SegmentationModel:
    """Load a model as it is on disk, with its weights.

    Args:
        path: Name of a model that is installed, nnU-Net v2 results folder, ``DatasetXXX`` folder, zip of either, or a
            ``.tuckerseg`` file.
        folds: Folds to use, as ``("0", "1")``; None takes all. A ``.tuckerseg`` file is used with all that it holds.
        cache: Keeps the converted model, so that the next load needs no conversion; None takes the user's.
        checkpoint: Which of nnU-Net's checkpoints: ``final``, ``best`` or ``latest``; None takes the final one, else
            the best.

    Raises:
        ModelFolderError: No such model, files are missing, or a field or a weight of it is damaged.
        UnsupportedModelError: A network or normalization that is not nnU-Net's own.
        ModelFileError: A ``.tuckerseg`` file that is damaged or of a newer version.
        SpecError: Not the folds of a ``.tuckerseg`` file, or a checkpoint of one, which has none.

    Example:
        >>> model = load_model("MODEL_FOLDER_OR_ZIP", folds=("0",))
        >>> demonstration = load_model("demo")
    """
    return _loaded(path, folds, checkpoint, cache or Cache(), read_model_file)


def load_facts(
    path: str | Path,
    folds: tuple[str, ...] | None = None,
    cache: Cache | None = None,
    checkpoint: str | None = None,
) -> SegmentationModel:
    """Load a model without its weights. Little is read, and little memory taken, where it was loaded here before.

    Args:
        path, folds, cache, checkpoint: As for :func:`load_model`.

    Raises:
        ModelFolderError, UnsupportedModelError, ModelFileError, SpecError: As :func:`load_model`.
    """
    return load_known(path, folds, cache, checkpoint).without_weights()


def load_known(
    path: str | Path,
    folds: tuple[str, ...] | None = None,
    cache: Cache | None = None,
    checkpoint: str | None = None,
) -> SegmentationModel:
    """Load a model without its weights where it was loaded here before, else with them: they had to be read.

    Args:
        path, folds, cache, checkpoint: As for :func:`load_model`.

    Raises:
        ModelFolderError, UnsupportedModelError, ModelFileError, SpecError: As :func:`load_model`.
    """
    return _loaded(path, folds, checkpoint, cache or Cache(), read_model_facts)


def _loaded(
    path: str | Path, folds: tuple[str, ...] | None, checkpoint: str | None, cache: Cache, read: Read
) -> SegmentationModel:
    require_own_threads()
    path, folds = locate(str(path), folds)
    if path.suffix == ".tuckerseg":
        _refuse_checkpoint(path, checkpoint)
        return _model_of_file(path, folds, read, cache)
    folder = find_model_folder(path, folds, checkpoint)
    stamp = files_stamp(path, folds, checkpoint)
    # The stamp of a zip is that of all checkpoints in it: which of them are meant is remembered with it.
    members = [] if os.path.isdir(folder.container) else [file.at for file in folder.files()]
    sha256 = cache.sha256_of_files(_stamped_files(folder), folder.sha256, members)
    key = _key_of_files(sha256, folder.folds)
    source = (sha256, folder.folds)
    model = stored_model(cache, key, lambda stored: (stored.source_sha256, stored.folds) == source, read)
    if model is None:
        model = _convert(folder, sha256)
        if files_stamp(path, folds, checkpoint) != stamp:
            raise ModelFolderError(f"{path} was changed while it was read. Try again.")
        store_model(cache, key, model)
    plans = with_documents(model.plans, folder.read_json("plans.json"), folder.read_json("dataset.json"))
    weights = Weights(model.weights, identity_of_files(sha256, folder.folds))
    return replace(model, name=_name(folder, plans), plans=plans, weights=weights)


def identity_of_files(sha256: str, folds: Sequence[str]) -> str:
    """The identity of weights that were read from nnU-Net's files: no file can claim it.

    Args:
        sha256: Digest of the files.
        folds: That were read.
    """
    return f"files {_key_of_files(sha256, folds)}"


def _key_of_files(sha256: str, folds: Sequence[str]) -> str:
    return key_of(engine=ENGINE_VERSION, source=sha256, folds=folds, recipes=[])


def files_stamp(path: str | Path, folds: tuple[str, ...] | None = None, checkpoint: str | None = None) -> str:
    """A digest that changes whenever a model's files do, by ``file_digests.stamp_of``. Reads nothing large.

    Args:
        path, folds, checkpoint: As for :func:`load_model`.

    Raises:
        ModelFolderError, UnsupportedModelError: As :func:`load_model`.
    """
    path, folds = locate(str(path), folds)
    if path.suffix == ".tuckerseg":
        return key_of(files=[stamp_of(path)], folds=folds, checkpoint=checkpoint)
    folder = find_model_folder(path, folds, checkpoint)
    files = [stamp_of(file) for file in _stamped_files(folder)]
    return key_of(files=files, place=str(folder.root), folds=folds, checkpoint=checkpoint)  # a zip may hold several


def _refuse_checkpoint(path: Path, checkpoint: str | None) -> None:
    if checkpoint is not None:
        raise SpecError(
            f"{path} holds the weights of one checkpoint; asked for: {checkpoint}. Leave the checkpoint out, or load "
            "the nnU-Net model."
        )


def _model_of_file(path: Path, folds: tuple[str, ...] | None, read: Read, cache: Cache) -> SegmentationModel:
    """The model of a ``.tuckerseg`` file."""
    if read is read_model_facts:
        model = read_checked_facts(path, cache.sha256_of_files([path], lambda: tensor_file.checked_sha256(path)))
    else:
        model = read_model_file(path)
    if folds and set(folds) != set(model.folds):
        raise SpecError(
            f"{path} was made of the folds {', '.join(model.folds)}, which are used together; asked for: "
            f"{', '.join(folds)}. Leave the folds out, or compress the original model with those."
        )
    return model


def _convert(folder: ModelFolder, sha256: str) -> SegmentationModel:
    """The model of an nnU-Net folder, its unused heads dropped."""
    checkpoints = {fold: folder.read_checkpoint(fold) for fold in folder.folds}
    first = checkpoints[folder.folds[0]]
    built = read_plans(folder.read_json("plans.json"), folder.read_json("dataset.json"), first, str(folder.container))
    # Of a compressed network, where the folder holds one, the plans describe what it was made of.
    architecture, recipes = original_architecture(built.architecture)
    plans = replace(built, architecture=architecture)
    weights: dict[str, torch.Tensor] = {}
    for fold, checkpoint in checkpoints.items():
        where = f"{folder.container}: fold_{fold}"
        network = network_with_weights(built, checkpoint.pop("network_weights"), where, trained_by(checkpoint))
        try:
            drop_unused_heads(network, plans.patch_shape, plans.input_channels)
            weights |= weights_of(network, fold)
            cost = count(network, plans.patch_shape, plans.input_channels)
            head = split_head(network, plans.patch_shape, plans.input_channels)
        except SpecError as error:
            raise ModelFolderError(f"{where}: {error}") from error
        if cost.output_shape != (plans.logit_channels, *plans.patch_shape):
            raise ModelFolderError(f"{where}: the network gives {cost.output_shape} of a patch of {plans.patch_shape}.")
    model = SegmentationModel(
        name=_name(folder, plans),
        plans=plans,
        folds=folder.folds,
        recipes=recipes,
        source_sha256=sha256,
        original_cost=cost.total,
        cost=cost.total,
        head_path=head.path if head else None,
        weights=weights,
    )
    if recipes:
        check_values(model)
        original = replace(model, recipes=()).structure()
        original_cost = count(original, plans.patch_shape, plans.input_channels).total
        return replace(model, original_cost=original_cost)
    return model


def _stamped_files(folder: ModelFolder) -> list[Path]:
    """Files on disk that a model's stamp covers: the zip, or all files that decide what it computes."""
    return [folder.container] if os.path.isfile(folder.container) else [Path(str(file)) for file in folder.files()]


def _name(folder: ModelFolder, plans: ModelPlans) -> str:
    return plans.dataset_name or folder.container.name
