"""Loads models and compresses them, keeping what was dear in the cache.

Ties nnU-Net's files, the compression methods and the cache together; the result is a SegmentationModel.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import compression
from .cache import Cache, key_of
from .compression.cost import count
from .compression.heads import drop_unused_heads, find_head, split_head
from .decompositions import calibrated_basis, network_basis, rank_evidence
from .errors import ModelFileError, ModelFolderError, SpecError
from .installed_models import locate
from .model import ENGINE_VERSION, SegmentationModel, read_model_facts, read_model_file
from .nnunet.compressed_architecture import original_architecture
from .nnunet.folder import ModelFolder, find_model_folder
from .nnunet.network import build_network
from .nnunet.plans import ModelPlans, read_plans, with_documents
from .records import CompressionRecipe, to_json

if TYPE_CHECKING:
    import torch

    from .calibrating import ModelCalibration

Read = Callable[[Path], SegmentationModel]


def load_model(path: str | Path, folds: tuple[str, ...] | None = None, cache: Cache | None = None) -> SegmentationModel:
    """Load a model as it is on disk.

    Args:
        path: Name of a model that is installed, nnU-Net v2 results folder, ``DatasetXXX`` folder, zip of either, or a
            ``.tuckerseg`` file.
        folds: Folds to use; None takes all. Of a ``.tuckerseg`` file, all that it holds.
        cache: Keeps the converted model, so that the next load needs neither nnunetv2's plans nor the checkpoint.

    Raises:
        ModelFolderError, UnsupportedModelError, ModelFileError: See there.
        SpecError: Not the folds of a ``.tuckerseg`` file.
    """
    return _loaded(path, folds, cache or Cache(), read_model_file)


def load_facts(path: str | Path, folds: tuple[str, ...] | None = None, cache: Cache | None = None) -> SegmentationModel:
    """A model without its weights: little is read, and little memory taken, where it was loaded here before.

    Args:
        path, folds, cache: As for :func:`load_model`.

    Raises:
        ModelFolderError, UnsupportedModelError, ModelFileError, SpecError: See there.
    """
    return _loaded(path, folds, cache or Cache(), read_model_facts).without_weights()


def _loaded(path: str | Path, folds: tuple[str, ...] | None, cache: Cache, read: Read) -> SegmentationModel:
    path, folds = locate(str(path), folds)
    if path.suffix == ".tuckerseg":
        return _model_of_file(path, folds, read)
    folder = find_model_folder(path, folds)
    sha256 = cache.sha256_of_files(_stamped_files(folder), folder.sha256)
    key = key_of(engine=ENGINE_VERSION, source=sha256, folds=folder.folds, recipes=[])
    model = cached_model(cache, key, read)
    if model is None:
        model = _convert(folder, sha256)
        cache.store("models", key, model.save)
    plans = with_documents(model.plans, folder.read_json("plans.json"), folder.read_json("dataset.json"))
    return replace(model, name=_name(folder, plans), plans=plans)


def files_stamp(path: str | Path, folds: tuple[str, ...] | None = None) -> str:
    """What changes whenever a model's files do: their paths, sizes and times. Reads nothing large.

    Args:
        path, folds: As for :func:`load_model`.

    Raises:
        ModelFolderError, UnsupportedModelError: See there.
    """
    path, folds = locate(str(path), folds)
    files = [path] if path.suffix == ".tuckerseg" else _stamped_files(find_model_folder(path, folds))
    stats = [file.stat() for file in files]
    stamps = [[str(file.resolve()), stat.st_size, stat.st_mtime_ns] for file, stat in zip(files, stats)]
    return key_of(files=stamps, folds=folds)


def compress(
    model: SegmentationModel,
    spec: Any,
    method: str = "tucker",
    cache: Cache | None = None,
    progress: Callable[[float], None] | None = None,
    calibration: ModelCalibration | None = None,
) -> SegmentationModel:
    """Compress a model; every fold alike.

    Args:
        model: The original.
        spec: The method's ``Spec``, as ``compression.tucker.Spec(rank_ratio=0.33)``.
        method: Name in ``compression.METHODS``.
        cache: Keeps the result and the decomposition.
        progress: Called with the fraction done, 0 to 1.
        calibration: For a spec of rank mode ``auto``; it is the one that the spec names, or gets its name there.

    Returns:
        A new model. Where the method changes no layer (rank ratio 1), the original itself.

    Raises:
        SpecError: The model is compressed already, or the spec names another calibration.
    """
    require_original(model)
    module = compression.method(method)
    cache = cache or Cache()
    patch_shape, channels = model.plans.patch_shape, model.plans.input_channels
    if calibration is not None and spec.calibration is None:
        spec = replace(spec, calibration=calibration.sha256)
    named, given = getattr(spec, "calibration", None), calibration and calibration.sha256
    if named != given:
        raise SpecError(f"the compression names the calibration {named}, but {given} was given")
    asked = _asked(model, spec, method)
    if cached := cached_model(cache, asked.key):
        return replace(cached, name=model.name, plans=model.plans)
    evidence = rank_evidence(model, spec, cache, calibration, progress)
    changes = module.plan(model.structure(), spec, patch_shape, channels, evidence)
    if all(change.skipped_because is not None for change in changes):
        return model
    weights: dict[str, torch.Tensor] = {}
    for number, fold in enumerate(model.folds):
        network = model.network(fold)
        report = progress and (lambda done, start=number: progress((start + done) / len(model.folds)))
        if calibration is None:
            basis = network_basis(model, fold, network, cache, report)
        else:
            basis = calibrated_basis(fold, network, calibration)
        module.apply(network, changes, basis)
        weights |= _weights(network, fold)
    cost = count(network, patch_shape, channels).total
    head_path = find_head(network, patch_shape, channels)  # a compressed head is three layers
    recipe = CompressionRecipe(method, to_json(spec), changes)
    compressed = replace(asked, recipes=(recipe,), weights=weights, cost=cost, head_path=head_path)
    cache.store("models", compressed.key, compressed.save)
    return compressed


def cached_compression(
    model: SegmentationModel, spec: Any, method: str, cache: Cache, read: Read = read_model_file
) -> SegmentationModel | None:
    """What :func:`compress` made earlier; None where it did not.

    Args:
        model: The original, or its facts.
        read: See :func:`cached_model`.
    """
    cached = cached_model(cache, _asked(model, spec, method).key, read)
    return None if cached is None else replace(cached, name=model.name)


def _asked(model: SegmentationModel, spec: Any, method: str) -> SegmentationModel:
    """What has the key of a compressed model that is not made yet."""
    return replace(model, recipes=(CompressionRecipe(method, to_json(spec), ()),), weights={})


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


def require_original(model: SegmentationModel) -> None:
    """Raise SpecError where a model is compressed already."""
    if model.recipes:
        raise SpecError(f"{model.name} is compressed already; start from the original model.")


def require_pair(compressed: SegmentationModel, original: SegmentationModel) -> None:
    """Raise SpecError unless the one was made of the other."""
    if original.recipes:
        raise SpecError(f"{original.name} is compressed; the original is needed to learn from.")
    if not compressed.recipes:
        raise SpecError(f"{compressed.name} is not compressed: there is nothing to gain. Give a rank below 1.")
    if (compressed.source_sha256, compressed.folds) != (original.source_sha256, original.folds):
        raise SpecError(f"{compressed.name} was not made of {original.name}; give the original that it was made of.")


def _model_of_file(path: Path, folds: tuple[str, ...] | None, read: Read) -> SegmentationModel:
    model = read(path)
    if folds and set(folds) != set(model.folds):
        raise SpecError(
            f"{path} was made of the folds {', '.join(model.folds)}, which are used together; asked for: "
            f"{', '.join(folds)}. Leave the folds out, or compress the original model with those."
        )
    return model


def _weights(network: torch.nn.Module, fold: str) -> dict[str, torch.Tensor]:
    """Parameters, and buffers such as the statistics of batch normalization; aliases once."""
    named = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    return {f"{fold}/{name}": tensor.detach() for name, tensor in named.items()}


def _convert(folder: ModelFolder, sha256: str) -> SegmentationModel:
    checkpoints = {fold: folder.read_checkpoint(fold) for fold in folder.folds}
    first = checkpoints[folder.folds[0]]
    plans = read_plans(folder.read_json("plans.json"), folder.read_json("dataset.json"), first, str(folder.container))
    built = plans.architecture  # of a compressed network, where the folder holds one
    architecture, recipes = original_architecture(built)
    plans = replace(plans, architecture=architecture)
    weights: dict[str, torch.Tensor] = {}
    for fold, checkpoint in checkpoints.items():
        network = build_network(built, plans.input_channels, plans.logit_channels)
        try:
            network.load_state_dict(checkpoint["network_weights"])
        except RuntimeError as error:
            reason = "; ".join(str(error).splitlines()[:3])
            raise ModelFolderError(
                f"{folder.container}: the weights of fold_{fold} do not fit the network in plans.json: {reason}"
            ) from error
        drop_unused_heads(network, plans.patch_shape, plans.input_channels)
        weights |= _weights(network, fold)
    cost = count(network, plans.patch_shape, plans.input_channels).total
    head = split_head(network, plans.patch_shape, plans.input_channels)
    model = SegmentationModel(
        name=_name(folder, plans),
        plans=plans,
        folds=folder.folds,
        recipes=recipes,
        source_sha256=sha256,
        original_cost=cost,
        cost=cost,
        head_path=head.path if head else None,
        weights=weights,
    )
    if not recipes:
        return model
    original = replace(model, recipes=()).structure()
    return replace(model, original_cost=count(original, plans.patch_shape, plans.input_channels).total)


def _stamped_files(folder: ModelFolder) -> list[Path]:
    return [folder.container] if folder.container.is_file() else [Path(str(file)) for file in folder.files()]


def _name(folder: ModelFolder, plans: ModelPlans) -> str:
    return plans.dataset_name or folder.container.name
