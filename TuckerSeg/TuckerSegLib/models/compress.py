"""Compresses a model by one step, and keeps the result in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .. import compression
from ..cache import Cache
from ..compression.cost import count
from ..compression.heads import find_head
from ..errors import SpecError
from ..forked_process import require_own_threads
from ..image import Image
from ..monitor import Monitor
from ..records.job import DEFAULT_METHOD, InferenceSpec
from .material import prepare_fold, prepare_folds
from .model import SegmentationModel, weights_of
from .model_file import Read, cached_model, read_model_file, store_model
from .patches import with_patches
from .planning import plan_compression, planned_model, require_new_method, with_calibration

if TYPE_CHECKING:
    import torch

    from .calibration import ModelCalibration


def compress(
    model: SegmentationModel,
    spec: Any,
    method: str = DEFAULT_METHOD,
    cache: Cache | None = None,
    monitor: Monitor | None = None,
    calibration: ModelCalibration | None = None,
    volumes: Sequence[Image] = (),
    inference: InferenceSpec | None = None,
) -> SegmentationModel:
    """Compress a model by one method; every fold gets the same structure.

    Args:
        model: The original, or a model that another method has compressed.
        spec: The method's ``Spec``, as ``TuckerSpec(rank_ratio=0.33)``.
        method: Name in ``compression.METHODS``, or ``auto``: all of them together.
        cache: Keeps the result and the decompositions that it is made of; None takes the user's.
        monitor: Hears what fraction is done, and is asked now and then whether to stop.
        calibration: Of this model, for a spec that needs one; it is the one that the spec names, or gets its name
            there.
        volumes: For a spec that is tried on patches; for a model of CTs the built-in synthetic torso is added.
        inference: Where the model will run, for ``auto``, which counts seconds there; None takes the defaults.

    Returns:
        A new model. Where the method changes no layer (as at strength 1), the model itself.

    Raises:
        SpecError: The model is compressed already by this method, or the spec names another calibration.
        ImageError: A volume does not fit the model.
        Cancelled: The monitor said so.

    Example:
        >>> smaller = compress(load_model("demo"), TuckerSpec.at(0.5))
        >>> smaller.save("smaller.tuckerseg")
        >>> ct = read_image("CT.nii.gz")
        >>> model = load_model("demo")
        >>> faster = compress(model, AllocationSpec(0.6), "auto", calibration=calibrate_model(model, ct), volumes=[ct])
    """
    require_own_threads()
    require_new_method(model, method)
    if method == compression.ALLOCATOR:
        from .allocated import allocated  # which compresses by this function, one step after the other

        place = inference or InferenceSpec()
        return allocated(model, spec, place, calibration, volumes, cache or Cache(), monitor or Monitor())
    module, cache, monitor = compression.method(method), cache or Cache(), monitor or Monitor()
    calibration_sha256 = calibration and calibration.sha256
    if getattr(spec, "calibration", calibration_sha256) is None:
        spec = with_calibration(spec, calibration_sha256)
    expected_sha256 = getattr(spec, "calibration", None)
    if expected_sha256 != calibration_sha256:
        raise SpecError(f"the compression names the calibration {expected_sha256}, but {calibration_sha256} was given")
    spec, patches = with_patches(model, spec, volumes)
    if cached := cached_model(cache, planned_model(model, spec, method)):
        return cached
    materials: tuple[Any, ...] = ()
    if spec.needs_weights:
        materials = prepare_folds(model, spec, method, cache, calibration, monitor, patches)
    plan = plan_compression(model, spec, method, materials)
    if not plan.changes_anything:
        return model
    weights: dict[str, torch.Tensor] = {}
    for number, fold in enumerate(model.folds):
        share = monitor.share(number, len(model.folds))
        material = (
            materials[number] if materials else prepare_fold(model, fold, spec, method, cache, calibration, share)
        )
        network = model.network(fold, stored=True)
        module.apply(network, plan.changes, material)
        weights |= weights_of(network, fold)
    patch_shape, channels = model.plans.patch_shape, model.plans.input_channels
    cost = count(network, patch_shape, channels).total
    head_path = find_head(network, patch_shape, channels)  # a compressed head may be several layers
    compressed = plan.model.with_weights(weights, cost=cost, head_path=head_path)
    store_model(cache, compressed.key, compressed)
    return compressed


def cached_compression(
    model: SegmentationModel, spec: Any, method: str, cache: Cache, read: Read = read_model_file
) -> SegmentationModel | None:
    """The compressed model that an earlier :func:`compress` has left in the cache; None where there is none.

    Args:
        model: The model before the compression, or its facts.
        spec, method: As :func:`compress` was given them, a calibration already named in the spec.
        cache: Where it is looked for.
        read: Reads the whole file, or its facts alone, see :func:`cached_model`.
    """
    return cached_model(cache, planned_model(model, spec, method), read)
