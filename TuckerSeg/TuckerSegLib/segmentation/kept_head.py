"""A network's head, kept beside its compiled form: a run whose network is compiled then reads no other weights.

It lies there as the compiled form does, under an identity and with a checksum (``hardware.compiled_cache``).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..cache import Cache
from ..hardware import compiled_cache
from ..linear_head import Head
from ..models.description import describe
from ..models.model import SegmentationModel

if TYPE_CHECKING:
    import numpy as np
    import torch


def kept_head(model: SegmentationModel, fold: str, cache: Cache, whole: Callable[[], SegmentationModel]) -> Head:
    """The head of a fold's network, from the cache where it is there, else from the weights.

    It is kept where the backend has kept a compiled form of the model.

    Args:
        model: With its weights or without; it ends in a head.
        fold: One of the model's.
        cache: Where compiled forms are kept.
        whole: Gives the model with its weights; not asked where the cache has the head.
    """
    if model.has_weights:
        return _keep(model, model.head(fold), fold, cache)
    shapes = model.head(fold)
    body = compiled_cache.read_entry(cache.compiled_folder(model.key), _identity(model, fold), warnings.warn)
    if body is None or body.nbytes != sum(tensor.numel() * 4 for tensor in _tensors(shapes)):
        return _keep(model, whole().head(fold), fold, cache)
    return _from_bytes(body, shapes)


def _keep(model: SegmentationModel, head: Head, fold: str, cache: Cache) -> Head:
    """Keep a head that is not kept yet, where compiled forms are; gives it back."""
    folder, identity = cache.compiled_folder(model.key), _identity(model, fold)
    path = compiled_cache.entry_path(folder, identity)
    if os.path.isdir(folder) and not os.path.exists(path):
        body = b"".join(tensor.detach().cpu().contiguous().numpy().tobytes() for tensor in _tensors(head))
        note = f"{model.name}, {describe(model)}"
        compiled_cache.write_entry(folder, identity, body, warnings.warn, note)
    return head


def _from_bytes(body: np.ndarray, shapes: Head) -> Head:
    """The head of an entry's bytes."""
    import torch

    values = torch.frombuffer(bytearray(body), dtype=torch.float32)
    weight, *bias = values.split([tensor.numel() for tensor in _tensors(shapes)])
    return Head(weight.view(shapes.weight.shape), bias[0] if bias else None, shapes.path)


def _tensors(head: Head) -> list[torch.Tensor]:
    """Weight and bias, where there is one; float32."""
    return [tensor for tensor in head if tensor is not None]


def _identity(model: SegmentationModel, fold: str) -> dict[str, str]:
    return {"network": f"{model.key}-{fold}", "form": "head"}
