"""A model on its device: chosen, compiled (or taken from the cache), its folds made one."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import hardware
from ..cache import Cache
from ..compression.tokens.passages import fix_numbers
from ..errors import OutOfMemoryError
from ..forked_process import require_own_threads
from ..models.description import describe
from ..models.model import SegmentationModel, uses_features
from ..records.job import InferenceSpec
from .kept_head import kept_head
from .predictor import Network, combine

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class PreparedModel:
    """A model on its device, ready to segment any number of volumes.

    Attributes:
        model: Its facts, and its weights where they were needed.
        network: All its folds, as they run.
        device: The device that was chosen.
        reason: Why this device and this precision.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        threads: Of the processor.
        close: Gives the device's memory back; the model cannot be used afterwards.
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
    """Bring a model to a device once, for any number of images.

    Args:
        model: With its weights, unless ``whole`` is given.
        inference: Device, precision, threads and batch size; None takes the defaults.
        cache: Where compiled forms are kept; None takes the user's.
        whole: Gives the model with its weights; asked only where its compiled form is not in the cache.

    Raises:
        BackendError: The device or precision asked for is not usable here; the message says why.
        OutOfMemoryError: The device is too small for the model.

    Example:
        >>> prepared = prepare(load_model("demo"), InferenceSpec(device="auto"))
        >>> for name in ("A", "B"):
        ...     segment(f"{name}.nii.gz", prepared).save(f"{name}.seg.nrrd")
        >>> prepared.close()
    """
    require_own_threads()
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

    def load(fold: str) -> nn.Module:
        from .running_form import rewrite  # with what networks are built of, which compiled forms do without

        network = whole().network(fold, features)
        if (
            device.backend == "openvino" and device.id != "openvino:cpu"
        ):  # shapes that hang on values are for processors
            fix_numbers(network)
        rewrite(network, processor=device.id in ("openvino:cpu", "torch:cpu"))
        return network

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
            predictors[fold] = backend.prepare(lambda fold=fold: load(fold), device, spec)
    except Exception as error:
        close()
        if backend.is_out_of_memory(error):
            raise OutOfMemoryError(
                f"{device.id} has too little memory for this model ({error}). "
                "Close other programs, choose another device, or compress more."
            ) from error
        raise
    cache.keep_limit(spare=cache.compiled_folder(model.key))
    heads = {fold: kept_head(model, fold, cache, whole) for fold in model.folds} if features else None
    network = combine(model, predictors, backend.is_out_of_memory, heads)
    reason = "; ".join(part for part in (device_reason, precision_reason) if part)
    return PreparedModel(model, network, device, reason, precision, threads, close)
