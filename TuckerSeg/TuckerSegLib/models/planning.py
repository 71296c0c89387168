"""Plans the steps of a compression: changes, cost and recipe of a compressed model before it is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .. import compression
from ..errors import SpecError
from ..records.compression import CompressionRecipe, Cost, LayerChange
from ..records.job import Step
from ..records.serialization import to_json
from .model import SegmentationModel, require_original


@dataclass(frozen=True)
class CompressionPlan:
    """One step of a compression, planned.

    Attributes:
        model: The model after the step, without weights: its recipes, its key, the cost of one fold.
        recipe: The step's entry in that model's recipes; its changes say what happens to each layer.
        changes_anything: False where every layer stays as it is; ``model`` is then the model before the step.
    """

    model: SegmentationModel
    recipe: CompressionRecipe
    changes_anything: bool

    @property
    def changes(self) -> tuple[LayerChange, ...]:
        """One entry per layer that was looked at, those that stay as they are included."""
        return self.recipe.changes

    @property
    def cost(self) -> Cost:
        """Cost of one fold for one patch, after the step."""
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
        model: The original, or the model after earlier steps; with its weights or without.
        spec: The method's ``Spec``.
        method: Name in ``compression.METHODS``.
        materials: What the method's ``prepare`` gave for each fold; only for a spec that needs weights.
        bound: Plan without materials a compression that costs at most about as much, where the method has one.

    Raises:
        SpecError: The network cannot be compressed so, or materials are needed and missing.
    """
    plans = model.plans
    planned_spec = spec.bound() if bound and hasattr(spec, "bound") else spec
    changes = compression.method(method).plan(
        model.structure(), planned_spec, plans.patch_shape, plans.input_channels, materials
    )
    recipe = CompressionRecipe(method, to_json(spec), tuple(changes))
    if all(change.skipped_because is not None for change in changes):
        return CompressionPlan(model, recipe, False)
    cost = sum((change.after - change.before for change in changes), model.cost)
    compressed = replace(planned_model(model, spec, method), recipes=(*model.recipes, recipe), cost=cost)
    return CompressionPlan(compressed, recipe, True)


def planned_model(model: SegmentationModel, spec: Any, method: str) -> SegmentationModel:
    """The model that a compression will give: it has its key, but neither changes nor weights.

    Args:
        model: What is to be compressed, with its weights or without.
        spec: The method's ``Spec``, with its calibration named.
        method: Name in ``compression.METHODS``.
    """
    return model.planned(CompressionRecipe(method, to_json(spec), ()))


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
    """A method's ``Spec`` that names a calibration by its SHA-256; None leaves the spec as it is."""
    return spec if sha256 is None else replace(spec, calibration=sha256)


def require_new_method(model: SegmentationModel, method: str) -> None:
    """Raise SpecError where a method has been applied to a model before: none can be applied to its own layers.

    The allocator, which plans for all methods, starts from the original.
    """
    if method == compression.ALLOCATOR:
        require_original(model)
    if any(recipe.method == method for recipe in model.recipes):
        raise SpecError(
            f"{model.name} is compressed already by the method {method}; start from the original model, or from what "
            "another method has left."
        )
