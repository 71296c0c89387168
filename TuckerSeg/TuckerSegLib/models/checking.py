"""Checks of a model that was read from a file: names and numbers in their ranges, tensors those of its network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .. import compression
from ..compression.cost import count
from ..compression.heads import find_head
from ..errors import ModelFileError
from ..nnunet.fields import part_of_path, sequence, text, whole_number, wrong
from ..nnunet.network_arguments import MOST_RECIPES
from ..nnunet.reading import check_documents
from ..nnunet.weights import check_finite, stored_tensors
from ..printable import shown
from ..records.compression import CompressionRecipe, Cost
from ..records.serialization import from_json

if TYPE_CHECKING:
    from .model import SegmentationModel

MOST_FOLDS = 100
LARGEST_COST = 10**18


def check_model(model: SegmentationModel) -> None:
    """Check a model's facts for their ranges, and its tensors against its network, which is built without memory.

    Args:
        model: As a file describes it, with weights or without.

    Raises:
        ModelFileError, ModelFolderError, SpecError: A part is out of its range, or two do not belong together.
        UnsupportedModelError: A network that is not known.
    """
    check_documents(model.plans, "documents")
    _check_facts(model)
    _check_weights(model)


def check_facts(model: SegmentationModel) -> None:
    """Check a model's facts for their ranges alone; its network, which takes a third of a second, is not built.

    Raises:
        ModelFileError, ModelFolderError, SpecError: A part is out of its range, or there is no such last layer.
    """
    check_documents(model.plans, "documents")
    _check_facts(model)
    for fold in model.folds if model.head_path is not None else ():
        weight = model.weights.get(f"{fold}/{model.head_path}.weight")
        if weight is None or len(weight) != model.plans.logit_channels:
            raise ModelFileError(f"head_path should be the network's last layer; found {shown(model.head_path)}.")


def _check_facts(model: SegmentationModel) -> None:
    """Raises ModelFolderError where a name or a number in the header is out of its range."""
    text(model.name, "name")
    for fold in sequence(model.folds, "folds", range(1, MOST_FOLDS + 1)):
        part_of_path(fold, "folds")
    if len(set(model.folds)) < len(model.folds):
        raise wrong("folds", "different names", model.folds)
    text(model.source_sha256, "source_sha256")
    for recipe in sequence(model.recipes, "recipes", range(MOST_RECIPES + 1)):
        _check_recipe(recipe)
    _check_costs((model.original_cost, model.cost))


def _check_recipe(recipe: CompressionRecipe) -> None:
    """Raises where a recipe's spec or costs are out of range; that its changes fit shows when the network is built."""
    text(recipe.method, "recipes: method")
    if recipe.method in compression.METHODS:
        from_json(compression.method(recipe.method).Spec, recipe.spec)
    elif recipe.changes:
        raise wrong("recipes: method", f"one of {', '.join(compression.METHODS)}", recipe.method)
    for name in ("epochs", "steps"):  # of trainings, as ``description.describe`` shows them
        if name in recipe.spec:
            whole_number(recipe.spec[name], f"recipes: {name}", 0, LARGEST_COST)
    if "dataset" in recipe.spec:
        text(recipe.spec["dataset"], "recipes: dataset")
    for change in recipe.changes:
        text(change.skipped_because or "", "recipes: skipped_because", empty=True)
        _check_costs((change.before, change.after))


def _check_costs(costs: Iterable[Cost]) -> None:
    """Raises ModelFolderError where a cost is not a whole number in its range."""
    for cost in costs:
        for name, value in vars(cost).items():
            whole_number(value, f"cost: {name}", 0, LARGEST_COST)


def _check_weights(model: SegmentationModel) -> None:
    """Raises ModelFileError unless the tensors are those of the network that the header describes, and numbers."""
    network, plans = model.structure(), model.plans
    expected = {f"{fold}/{name}": tensor for fold in model.folds for name, tensor in stored_tensors(network).items()}
    if expected.keys() != model.weights.keys():
        name = sorted(expected.keys() ^ model.weights.keys())[0]
        raise ModelFileError(f"its tensors are not those of its network: {shown(name)} is missing or unknown.")
    for name, tensor in model.weights.items():
        wanted = expected[name]
        of_kind = tensor.is_floating_point() if wanted.is_floating_point() else tensor.dtype == wanted.dtype
        if tensor.shape != wanted.shape or not of_kind:
            shapes = f"expected {wanted.dtype} {tuple(wanted.shape)}, found {tensor.dtype} {tuple(tensor.shape)}"
            raise ModelFileError(f"its tensors are not those of its network: {name}: {shapes}.")
    output = count(network, plans.patch_shape, plans.input_channels).output_shape
    if output != (plans.logit_channels, *plans.patch_shape):
        raise ModelFileError(f"its network gives {output} of a patch of {plans.patch_shape}.")
    heads = {find_head(network, plans.patch_shape, plans.input_channels), None}
    if model.head_path not in heads:
        raise ModelFileError(f"head_path should be the network's last layer; found {shown(model.head_path)}.")
    if model.has_weights:
        check_numbers(model)


def check_numbers(model: SegmentationModel) -> None:
    """Raises ModelFolderError or ModelFileError where weights are no numbers, or none that their method gives.

    Args:
        model: With its weights, whose shapes have been checked.
    """
    check_finite(model.weights, "it")
    check_values(model)


def check_values(model: SegmentationModel) -> None:
    """Raises ModelFileError where weights have values that the method that made them never gives.

    Args:
        model: With its weights.
    """
    for recipe in model.recipes:
        check_weights = recipe.changes and getattr(compression.method(recipe.method), "check_weights", None)
        for fold in model.folds if check_weights else ():
            prefix = f"{fold}/"
            of_fold = {name[len(prefix) :]: each for name, each in model.weights.items() if name.startswith(prefix)}
            check_weights(recipe.changes, of_fold)
