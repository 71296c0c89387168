"""Agreements that were measured before this program was given away, of the models that they were measured on.

A file's word for what it was made of is not enough: other weights would get the honest ones' praise.
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
    """See ``catalog.shipped_agreement``.

    Args:
        model: The original, or what was made of it by the method; its weights are not needed.
        cache: Tells whether it was made of it here.

    Returns:
        None where it was not measured, or the model only claims to be the one that it was measured on.
    """
    found = catalog.shipped_agreement(model.source_sha256, method, strength)
    return found if found and _is_built_in(model, cache) else None


def _is_built_in(model: SegmentationModel, cache: Cache) -> bool:
    """Whether a model is a built-in one, or a file of what was made of it here."""
    for known in catalog.known_models():
        try:
            original = load_facts(known.path, cache=cache)
        except TuckerSegError:  # a damaged installation
            continue
        if model.key == original.key:
            return True
        if len(model.recipes) == 1 and original.source_sha256 == model.source_sha256:
            asked = original.to_be_made(replace(model.recipes[0], changes=()))
            path = cache.path("models", asked.key)
            made = tensor_file.checksum_of(path) if os.path.exists(path) else None
            return model.key == asked.key or (made is not None and model.weights.identity == f"file {made}")
    return False
