"""A model's compression and training in words."""

from __future__ import annotations

from typing import Any

from .. import compression
from ..records.compression import CompressionRecipe
from ..records.serialization import from_json
from .model import SegmentationModel


def describe(model: SegmentationModel) -> str:
    """The compressions and trainings of a model in words, in their order; ``original network`` where there are none."""
    return "; ".join(map(_words, model.recipes)) or "original network"


def _words(recipe: CompressionRecipe) -> str:
    """The words for one step."""
    if recipe.method not in compression.METHODS:
        return _training(recipe.method, recipe.spec)
    method = compression.method(recipe.method)
    return method.describe(from_json(method.Spec, recipe.spec), recipe.changes)


def _training(name: str, spec: dict[str, Any]) -> str:
    """The words for a step that changes weights alone: fine-tuning, repair, refit."""
    if "epochs" in spec and "dataset" in spec:
        return f"fine-tuning of {spec['epochs']} epochs on {spec['dataset']}"
    words = f"{name} of {spec['steps']} steps" if "steps" in spec else name
    stages = spec.get("stages")
    return f"{words} after one at each of {len(stages)} higher ranks" if isinstance(stages, list) else words
