"""Agreements that ship with the program, given out for the very models that they were measured on.

A file's claim of what it was made of is not enough: other weights would get the agreement of the honest ones.
"""

from __future__ import annotations

import os
from dataclasses import replace

from .. import catalog, tensor_file
from ..cache import Cache
from ..errors import TuckerSegError
from ..models.loading import load_facts
from ..models.model import SegmentationModel


def shipped_agreement(model: SegmentationModel, method: str, strength: float, cache: Cache) -> tuple[float, str] | None:
    """The agreement with the original network that was measured for a compression before the program shipped.

    Args:
        model: The original, or a model that the method made of it; its weights are not needed.
        method: Name in ``compression.METHODS``.
        strength: In the method's own measure, above 0 and below 1.
        cache: Tells whether the model was made of the original on this computer.

    Returns:
        Mean Dice, 0 to 1, and the name of the volumes; None where it was not measured, or the model only claims to be
        the one that it was measured on.
    """
    agreement = catalog.shipped_agreement(model.source_sha256, method, strength)
    return agreement if agreement and _is_built_in(model, cache) else None


def _is_built_in(model: SegmentationModel, cache: Cache) -> bool:
    """Whether a model is a built-in one, or a compressed one that was made of it on this computer."""
    for built_in in catalog.known_models():
        try:
            original = load_facts(built_in.path, cache=cache)
        except TuckerSegError:  # a damaged installation
            continue
        if model.key == original.key:
            return True
        if len(model.recipes) == 1 and original.source_sha256 == model.source_sha256:
            planned = original.planned(replace(model.recipes[0], changes=()))
            path = cache.path("models", planned.key)
            checksum = tensor_file.checksum_of(path) if os.path.exists(path) else None
            is_cached = checksum is not None and model.weights.identity == f"file {checksum}"
            return model.key == planned.key or is_cached
    return False
