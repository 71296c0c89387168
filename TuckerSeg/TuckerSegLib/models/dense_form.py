"""A Tucker-compressed model as one that can be compressed anew: its factors multiplied out."""

from __future__ import annotations

from dataclasses import replace

from ..cache import key_of
from ..compression.linear_layers import weighted_layers
from ..compression.tucker.details import TuckerDetails
from ..compression.tucker.layers import composed
from ..errors import SpecError
from ..records.compression import CompressionRecipe
from .model import SegmentationModel, Weights, require_pair


def dense_form(model: SegmentationModel, original: SegmentationModel) -> SegmentationModel:
    """The model in the structure of its original: the same outputs, every layer one weight again.

    It goes for an original in other functions, and keeps the original's ``source_sha256``; its key tells the two apart.

    Args:
        model: Made of ``original`` by Tucker compression; a repair or a refit may have followed.
        original: What it was made of.

    Raises:
        SpecError: It was not made of that, or by another method.
    """
    require_pair(model, original)
    changing = [recipe for recipe in model.recipes[len(original.recipes) :] if recipe.changes]
    if [recipe.method for recipe in changing] != ["tucker"]:
        methods = ", ".join(recipe.method for recipe in changing) or "none"
        raise SpecError(f"{model.name}: layers of the method tucker alone can be multiplied out; found {methods}.")
    weights = {name: tensor for name, tensor in model.weights.items() if name in original.weights}
    for fold in model.folds:
        weights |= _multiplied_out(model, original, fold, changing[0])
    identity = f"dense form of {key_of(model=model.key)}"
    return replace(
        original,
        weights=Weights({name: weights[name].to(each.dtype) for name, each in original.weights.items()}, identity),
    )


def _multiplied_out(
    model: SegmentationModel, original: SegmentationModel, fold: str, recipe: CompressionRecipe
) -> dict[str, object]:
    """Weights and biases of the layers that a recipe has decomposed, ``fold/name`` to tensor."""
    network, weights = model.network(fold), {}
    layers = weighted_layers(original.structure())
    for change in recipe.changes:
        details = TuckerDetails.from_change(change)
        if details.ranks is None:
            continue
        factors, layer = network.get_submodule(change.path), layers[change.path]
        weight = composed(factors, layer, details).detach()
        weights[f"{fold}/{change.path}.weight"] = weight.transpose(0, 1).contiguous() if layer.transposed else weight
        if factors[-1].bias is not None:
            weights[f"{fold}/{change.path}.bias"] = factors[-1].bias.detach()
    return weights
