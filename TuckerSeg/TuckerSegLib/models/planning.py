"""What a step of a compression will do to a model, before it is done: changes, cost and recipe, worked out once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .. import compression
from ..errors import SpecError
from ..records.compression import CompressionRecipe, Cost, LayerChange
from ..records.job import Step
from ..records.serialization import to_json
from .model import SegmentationModel


@dataclass(frozen=True)
class CompressionPlan:
    """One step.

    Attributes:
        model: What the step leaves, without weights: its recipes, its key, the cost of one fold.
        recipe: The step's entry there; its changes are what is decided for each layer.
        changes_anything: False where every layer stays as it is; ``model`` is the one before then.
    """

    model: SegmentationModel
    recipe: CompressionRecipe
    changes_anything: bool

    @property
    def changes(self) -> tuple[LayerChange, ...]:
        """What is decided for each layer."""
        return self.recipe.changes

    @property
    def cost(self) -> Cost:
        """Of one fold, afterwards."""
        return self.model.cost


def plan_compression(
    model: SegmentationModel,
    spec: Any,
    method: str,
    materials: Sequence[Any] = (),
    bound: bool = False,
) -> CompressionPlan:
    """Decide what a compression does to each layer of a model; touches no weights.

    Args:
        model: The original, or what earlier steps have left; with its weights or without.
        spec: The method's ``Spec``.
        method: Name in ``compression.METHODS``.
        materials: What the method's ``prepare`` gave for each fold; only for a spec that needs weights.
        bound: Plan without materials what costs at most about as much.

    Raises:
        SpecError: The network cannot be compressed so, or materials are needed and missing.
    """
    plans = model.plans
    planned = spec.bound() if bound and hasattr(spec, "bound") else spec
    changes = compression.method(method).plan(
        model.structure(), planned, plans.patch_shape, plans.input_channels, materials
    )
    recipe = CompressionRecipe(method, to_json(spec), tuple(changes))
    if all(change.skipped_because is not None for change in changes):
        return CompressionPlan(model, recipe, False)
    cost = sum((change.after - change.before for change in changes), model.cost)
    after = replace(to_be_compressed(model, spec, method), recipes=(*model.recipes, recipe), cost=cost)
    return CompressionPlan(after, recipe, True)


def to_be_compressed(model: SegmentationModel, spec: Any, method: str) -> SegmentationModel:
    """What a compression will make, but for its changes and weights; see ``SegmentationModel.to_be_made``."""
    return model.to_be_made(CompressionRecipe(method, to_json(spec), ()))


def spec_of_step(step: Step) -> Any:
    """The ``Spec`` that a step of a job asks for.

    Raises:
        SpecError: No such method, a field that it does not have, or a value out of its range.
    """
    if step.strength is not None and not step.spec:
        return compression.method(step.method).Spec.at(step.strength)
    spec = compression.spec_of(step.method, step.spec)
    if step.strength is None:
        return spec
    return spec.with_strength(step.strength) if hasattr(spec, "with_strength") else type(spec).at(step.strength)


def with_calibration(spec: Any, sha256: str | None) -> Any:
    """The spec with its calibration named; None leaves it as it is."""
    return spec if sha256 is None else replace(spec, calibration=sha256)


def require_new_method(model: SegmentationModel, method: str) -> None:
    """Raise SpecError where a method has been applied to a model before: it has nothing to say of its own layers."""
    if any(recipe.method == method for recipe in model.recipes):
        raise SpecError(
            f"{model.name} is compressed already by the method {method}; start from the original model, or from what "
            "another method has left."
        )
