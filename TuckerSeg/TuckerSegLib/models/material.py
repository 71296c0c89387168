"""Materials: what compression methods compute of a model's networks before they compress them, kept in the cache."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from .. import compression, tensor_file
from ..cache import Cache, entry_name, key_of
from ..errors import ModelFileError
from ..monitor import Monitor
from .model import SegmentationModel
from .shipped_material import shipped_material

if TYPE_CHECKING:
    import torch

    from .calibration import ModelCalibration
    from .patches import Patches

Content = TypeVar("Content")


class _NotKept(Exception):
    """A material is not in the cache, and must not be computed."""


def prepare_fold(
    model: SegmentationModel,
    fold: str,
    spec: Any,
    method: str,
    cache: Cache,
    calibration: ModelCalibration | None,
    monitor: Monitor | None = None,
    patches: Patches | None = None,
) -> Any:
    """A method's material of one fold, read from the cache as far as it is there, else computed and kept.

    Args:
        model: What is to be compressed, with its weights.
        fold: One of the model's.
        spec: The method's ``Spec``.
        method: Name in ``compression.METHODS``.
        cache: Keeps what the method's ``prepare`` asks to keep.
        calibration: The one that the spec names; None for none.
        monitor: Hears what fraction is done, and is asked now and then whether to stop.
        patches: Gives the patches that a spec needs, see ``patches.with_patches``; None for other specs.

    Returns:
        What the method's ``prepare`` gives.

    Raises:
        SpecError, UnsupportedModelError: See the method's ``prepare``.
        Cancelled: The monitor said so.
    """
    keep = _cache_keep(model, fold, method, cache)
    return _prepared(model, fold, spec, method, keep, calibration, monitor, patches)


def prepare_folds(
    model: SegmentationModel,
    spec: Any,
    method: str,
    cache: Cache,
    calibration: ModelCalibration | None,
    monitor: Monitor | None = None,
    patches: Patches | None = None,
) -> tuple[Any, ...]:
    """The materials of all folds of a model, in their order; arguments and errors as for :func:`prepare_fold`."""
    monitor, count = monitor or Monitor(), len(model.folds)
    return tuple(
        prepare_fold(model, fold, spec, method, cache, calibration, monitor.share(number, count), patches)
        for number, fold in enumerate(model.folds)
    )


def kept_materials(
    model: SegmentationModel, spec: Any, method: str, cache: Cache, calibration: ModelCalibration | None
) -> tuple[Any, ...] | None:
    """The materials of all folds of a model where all of them are in the cache, else None. Needs no weights."""
    try:
        return tuple(
            _prepared(model, fold, spec, method, _cache_keep(model, fold, method, cache, make=False), calibration)
            for fold in model.folds
        )
    except _NotKept:
        return None


def computed_materials(
    model: SegmentationModel, spec: Any, method: str, calibration: ModelCalibration | None
) -> dict[str, dict[str, torch.Tensor]]:
    """All that a method would keep of a model: key, as of :func:`material_key`, to tensors. Reads and keeps nothing."""
    materials = {}
    for fold in model.folds:

        def keep(facts: Mapping[str, Any], compute: Callable, read: Callable = dict, fold: str = fold) -> Any:
            tensors = materials[material_key(model, fold, method, facts)] = compute()
            return read(tensors)

        _prepared(model, fold, spec, method, keep, calibration)
    return materials


def material_key(model: SegmentationModel, fold: str, method: str, facts: Mapping[str, Any]) -> str:
    """The cache's key of a part of a method's material.

    Args:
        model: Of which the material is.
        fold: One of the model's.
        method: Name in ``compression.METHODS``; its ``VERSION`` counts, too.
        facts: All that the part depends on beside the network and the method's version, in JSON types.
    """
    version = getattr(compression.method(method), "VERSION", 1)
    return key_of(source=model.key, fold=fold, method=method, method_version=version, facts=dict(facts))


def _prepared(
    model: SegmentationModel,
    fold: str,
    spec: Any,
    method: str,
    keep: Callable,
    calibration: ModelCalibration | None,
    monitor: Monitor | None = None,
    patches: Patches | None = None,
) -> Any:
    moments = None if calibration is None else calibration.folds[fold]
    asked_for = {} if patches is None else {"patches": patches}
    prepare = compression.method(method).prepare
    return prepare(model.network(fold, stored=True), spec, moments, keep, monitor or Monitor(), **asked_for)


def _cache_keep(model: SegmentationModel, fold: str, method: str, cache: Cache, make: bool = True) -> Callable:
    """The ``keep`` of a method's ``prepare`` for one fold: in the cache.

    Args:
        make: False raises _NotKept instead of computing anything.
    """

    def keep(
        facts: Mapping[str, Any],
        compute: Callable[[], dict[str, torch.Tensor]],
        read: Callable[[dict[str, torch.Tensor]], Content] = dict,
    ) -> Content:
        key = material_key(model, fold, method, facts)
        entry = entry_name("bases", key)
        if path := cache.find("bases", key):
            try:
                tensors, _ = tensor_file.read_tensors(path, entry)
                if not all(tensor.isfinite().all() for tensor in tensors.values()):
                    raise ModelFileError(f"{path} should hold finite numbers.")
                return read(tensors)
            except (ModelFileError, KeyError, ValueError, TypeError) as error:
                cache.discard("bases", key)
                warnings.warn(f"A cached file could not be used and is made again: {error}", stacklevel=3)
        if (shipped := shipped_material(key)) is not None:
            return read(shipped)
        if not make:
            raise _NotKept
        tensors = compute()
        note = {"of": model.name}
        cache.store("bases", key, lambda path: tensor_file.write_tensors(path, tensors, note, entry))
        return read(tensors)

    return keep
