"""A compressed model as it is trained: some methods then have layers that learn, in place of rules."""

from __future__ import annotations

from dataclasses import replace

from .. import compression
from ..compression.cost import count
from ..records.compression import CompressionRecipe
from ..records.serialization import to_json
from .model import SegmentationModel, Weights


def for_training(model: SegmentationModel) -> SegmentationModel:
    """The model with fresh layers for what its methods can learn; itself where there is nothing, or all is there.

    A method has such layers if it has a ``for_training(network, spec, changes, patch_shape, input_channels)``, which
    gives the spec and the changes of the same step with them. They change nothing until they have been trained.

    Args:
        model: Compressed, with its weights.
    """
    plans, recipes, fresh = model.plans, list(model.recipes), {}
    for number, recipe in enumerate(recipes):
        learning = getattr(_method(recipe), "for_training", None)
        if learning is None:
            continue
        network = replace(model, recipes=tuple(recipes[:number])).structure()
        fields = {name: value for name, value in recipe.spec.items() if name != "version"}
        spec, changes = learning(
            network,
            compression.spec_of(recipe.method, fields),
            recipe.changes,
            plans.patch_shape,
            plans.input_channels,
        )
        if changes == recipe.changes:
            continue
        recipes[number] = CompressionRecipe(recipe.method, to_json(spec), changes)
        compression.method(recipe.method).apply(network, changes)  # outside of the meta device: what is new has values
        fresh |= {name: each.detach() for name, each in network.named_parameters() if not each.is_meta}
    if not fresh:
        return model
    own = {f"{fold}/{name}": tensor for fold in model.folds for name, tensor in fresh.items()}
    weights = Weights({**model.weights, **own}, model.weights.identity)  # the recipe says the rest
    learning_model = replace(model, recipes=tuple(recipes), weights=weights)
    cost = count(learning_model.structure(), plans.patch_shape, plans.input_channels).total
    return replace(learning_model, cost=cost)


def learns_alone(model: SegmentationModel) -> bool:
    """Whether only methods with layers that learn have changed the model: all other weights are the original's."""
    methods = [_method(recipe) for recipe in model.recipes if recipe.changes]
    return bool(methods) and all(hasattr(method, "for_training") for method in methods)


def _method(recipe: CompressionRecipe):
    return compression.method(recipe.method) if recipe.changes else None
