"""A model on its device: chosen, compiled (or taken from the cache), its folds made one."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from .. import hardware
from ..cache import Cache
from ..errors import OutOfMemoryError
from ..models.description import describe
from ..models.model import SegmentationModel, uses_features
from ..records.job import InferenceSpec
from .predictor import Network, combine


@dataclass(frozen=True)
class PreparedModel:
    """A model that is ready for volumes.

    Attributes:
        reason: Why this device and this precision.
        close: Gives the device's memory back.
    """

    model: SegmentationModel
    network: Network
    device: hardware.Device
    reason: str
    precision: str
    threads: int
    close: Callable[[], None]


def prepare(
    model: SegmentationModel,
    inference: InferenceSpec | None = None,
    cache: Cache | None = None,
    whole: Callable[[], SegmentationModel] | None = None,
) -> PreparedModel:
    """Bring a model to a device.

    Args:
        model: With its weights, unless ``whole`` is given.
        inference: Device, precision, threads and batch size; None takes the defaults.
        cache: Where compiled forms are kept; None takes the user's.
        whole: Gives the model with its weights; asked only where its compiled form is not in the cache.

    Raises:
        BackendError: The device or precision asked for is not usable here; the message says why.
        OutOfMemoryError: The device is too small for the model.
    """
    inference = inference or InferenceSpec()
    cache = cache or Cache()
    device, device_reason = hardware.choose(inference.device, hardware.devices())
    precision, precision_reason = hardware.choose_precision(inference.precision, device)
    backend = hardware.backend(device.backend)
    threads = inference.threads or hardware.default_threads()
    features = uses_features(model)
    whole = functools.cache(whole or (lambda: model))
    predictors: dict[str, hardware.PatchPredictor] = {}

    def close() -> None:
        for predictor in predictors.values():
            predictor.close()

    try:
        for fold in model.folds:
            spec = hardware.PrepareSpec(
                patch_shape=model.plans.patch_shape,
                input_channels=model.plans.input_channels,
                batch_size=inference.batch_size,
                precision=precision,
                threads=threads,
                cache_folder=cache.compiled_folder(model.key),
                cache_key=f"{model.key}-{fold}-{'features' if features else 'logits'}",
                cache_note=f"{model.name}, {describe(model)}",
                log=warnings.warn,
            )
            predictors[fold] = backend.prepare(lambda fold=fold: whole().network(fold, features), device, spec)
    except Exception as error:
        close()
        if backend.is_out_of_memory(error):
            raise OutOfMemoryError(
                f"{device.id} has too little memory for this model ({error}). "
                "Close other programs, choose another device, or compress more."
            ) from error
        raise
    cache.keep_limit(spare=cache.compiled_folder(model.key))
    network = combine(whole() if features else model, predictors, backend.is_out_of_memory)
    reason = "; ".join(part for part in (device_reason, precision_reason) if part)
    return PreparedModel(model, network, device, reason, precision, threads, close)
