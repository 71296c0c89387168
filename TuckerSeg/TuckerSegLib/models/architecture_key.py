"""What decides how long a network takes, whatever its weights: under this key, seconds are remembered."""

from __future__ import annotations

from collections.abc import Sequence

from ..cache import key_of
from ..nnunet.plans import ModelPlans
from ..records.compression import CompressionRecipe, Cost

WHOLE_BITS = 16  # of a weight: fewer are whole numbers, which are computed with otherwise


def architecture_key(plans: ModelPlans, whole_share: float = 0.0) -> str:
    """Key of an architecture and its patch shape: the same for networks that take equal time, whatever the weights.

    Args:
        plans: Of the model.
        whole_share: See :func:`whole_share`; to a tenth.
    """
    architecture = plans.architecture
    key = key_of(network=architecture.class_name, kwargs=architecture.kwargs, patch=plans.patch_shape)[:16]
    return f"{key}/{whole_share:.1f}" if whole_share else key


def whole_share(recipes: Sequence[CompressionRecipe], cost: Cost) -> float:
    """Share of a network's multiply-accumulates in layers whose weights are whole numbers: those take other times.

    Args:
        recipes: Of the model.
        cost: Of one fold.
    """
    whole = {
        change.path: change.after.macs
        for recipe in recipes
        for change in recipe.changes
        if change.skipped_because is None and change.after.bits_per_weight < WHOLE_BITS
    }
    return min(1.0, sum(whole.values()) / cost.macs) if cost.macs else 0.0
