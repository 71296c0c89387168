"""Compresses a model, keeping what was dear in the cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .. import compression
from ..cache import Cache
from ..compression.cost import count
from ..compression.heads import find_head
from ..errors import SpecError
from ..records.compression import CompressionRecipe
from ..records.serialization import to_json
from .decomposition import calibrated_basis, network_basis, rank_evidence
from .file import Read, cached_model, read_model_file, store_model
from .model import SegmentationModel, require_original, weights_of

if TYPE_CHECKING:
    import torch

    from .calibration import ModelCalibration


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
    asked = to_be_compressed(model, spec, method)
    if cached := cached_model(cache, asked):
        return cached
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
        weights |= weights_of(network, fold)
    cost = count(network, patch_shape, channels).total
    head_path = find_head(network, patch_shape, channels)  # a compressed head is three layers
    recipe = CompressionRecipe(method, to_json(spec), changes)
    compressed = asked.made(weights, recipes=(recipe,), cost=cost, head_path=head_path)
    store_model(cache, compressed.key, compressed)
    return compressed


def cached_compression(
    model: SegmentationModel, spec: Any, method: str, cache: Cache, read: Read = read_model_file
) -> SegmentationModel | None:
    """What :func:`compress` made earlier; None where it did not.

    Args:
        model: The original, or its facts.
        read: See :func:`cached_model`.
    """
    return cached_model(cache, to_be_compressed(model, spec, method), read)


def to_be_compressed(model: SegmentationModel, spec: Any, method: str) -> SegmentationModel:
    """What :func:`compress` will make, but for its weights; see ``SegmentationModel.to_be_made``."""
    return model.to_be_made(CompressionRecipe(method, to_json(spec), ()))
