"""SegmentationModel: an nnU-Net model, original or compressed, with all that a prediction needs.

One type for both (``recipes`` empty = original), so both run through the same code. Knows its own file, not
where models come from (``loading.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import compression, model_file
from .cache import key_of
from .compression.heads import drop_unused_heads
from .compression.layers import replace_modules
from .errors import ModelFileError, SpecError
from .nnunet.network import build_network
from .nnunet.plans import ModelPlans
from .records import CompressionRecipe, Cost, from_json, to_json

if TYPE_CHECKING:
    import torch

ENGINE_VERSION = 1  # raise when the same source and settings give other weights: old cache entries are passed over


@dataclass(frozen=True)
class SegmentationModel:
    """A segmentation network with its plans.

    Attributes:
        name: For people; file or dataset name.
        plans: What nnU-Net's files say of the model.
        folds: Names of the folds; all are used and averaged.
        recipes: What was done to the original, in order; empty for the original.
        source_sha256: Of the original model's files.
        original_cost, cost: For one patch and one fold, before and after compression.
        head_path: Module path of the 1x1x1 convolution that makes logits of features, or None.
        weights: ``fold/parameter`` (or buffer) to tensor, aliases once.
    """

    name: str
    plans: ModelPlans
    folds: tuple[str, ...]
    recipes: tuple[CompressionRecipe, ...]
    source_sha256: str
    original_cost: Cost
    cost: Cost
    head_path: str | None
    weights: dict[str, torch.Tensor] = field(repr=False, compare=False)

    @property
    def key(self) -> str:
        """Changes with anything that changes the output of the network."""
        return key_of(
            engine=ENGINE_VERSION,
            source=self.source_sha256,
            folds=self.folds,
            recipes=[[recipe.method, recipe.spec] for recipe in self.recipes],
        )

    @property
    def weight_bytes(self) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in self.weights.values())

    @property
    def has_weights(self) -> bool:
        """Whether it can be run; see :meth:`without_weights`."""
        return not any(tensor.is_meta for tensor in self.weights.values())

    def without_weights(self) -> SegmentationModel:
        """The same facts and shapes, no memory: it can be told of and planned, not run."""
        import torch

        return replace(
            self, weights={name: torch.empty_like(each, device="meta") for name, each in self.weights.items()}
        )

    def network(self, fold: str, features: bool = False) -> torch.nn.Module:
        """Build one fold's network with its weights.

        Args:
            fold: One of ``folds``.
            features: Leave the head out: the network then ends with the last stage's features.

        Returns:
            Module from (B, C, Z, Y, X) to logits (B, L, Z, Y, X), or features (B, F, Z, Y, X).
        """
        import torch

        network = self.structure()
        prefix = f"{fold}/"
        for name, tensor in self.weights.items():
            if name.startswith(prefix):
                path, _, leaf = name.removeprefix(prefix).rpartition(".")
                module = network.get_submodule(path)
                if leaf in module._buffers:
                    module.register_buffer(leaf, tensor)
                else:
                    module.register_parameter(leaf, torch.nn.Parameter(tensor.float(), requires_grad=False))
        if features:
            if self.head_path is None:
                raise SpecError(f"{self.name}: the network does not end in a 1x1x1 convolution; ask for logits.")
            replace_modules(network, {network.get_submodule(self.head_path): torch.nn.Identity()})
        return network.eval()

    def head(self, fold: str) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Weight (L, F) and bias (L,) or None of the head."""
        weight = self.weights[f"{fold}/{self.head_path}.weight"].float()
        bias = self.weights.get(f"{fold}/{self.head_path}.bias")
        return weight.flatten(1), None if bias is None else bias.float()

    def save(self, path: str | Path) -> None:
        """Write a ``.tuckerseg`` file.

        Raises:
            OutputError: It cannot be written.
        """
        document = {
            "engine": ENGINE_VERSION,
            "name": self.name,
            "plans": to_json(self.plans),
            "folds": list(self.folds),
            "recipes": [to_json(recipe) for recipe in self.recipes],
            "source_sha256": self.source_sha256,
            "original_cost": to_json(self.original_cost),
            "cost": to_json(self.cost),
            "head_path": self.head_path,
        }
        model_file.write_tensors(Path(path), self.weights, document)

    def structure(self) -> torch.nn.Module:
        """The network without weights, on the meta device."""
        import torch

        with torch.device("meta"):
            network = build_network(self.plans.architecture, self.plans.input_channels, self.plans.logit_channels)
            drop_unused_heads(network, self.plans.patch_shape, self.plans.input_channels)
            for recipe in self.recipes:
                compression.method(recipe.method).apply(network, recipe.changes)
        return network


def read_model_file(path: str | Path) -> SegmentationModel:
    """Read a ``.tuckerseg`` file.

    Raises:
        ModelFileError: Damaged, newer, or not such a file.
    """
    return _model_of(path, *model_file.read_tensors(Path(path)))


def read_model_facts(path: str | Path) -> SegmentationModel:
    """Read a ``.tuckerseg`` file but for its weights; see :meth:`SegmentationModel.without_weights`.

    Raises:
        ModelFileError: See :func:`read_model_file`.
    """
    return _model_of(path, *model_file.read_shapes(Path(path)))


def _model_of(path: str | Path, tensors: dict[str, torch.Tensor], document: dict[str, Any]) -> SegmentationModel:
    try:
        return SegmentationModel(
            name=document["name"],
            plans=from_json(ModelPlans, document["plans"]),
            folds=tuple(document["folds"]),
            recipes=tuple(from_json(CompressionRecipe, recipe) for recipe in document["recipes"]),
            source_sha256=document["source_sha256"],
            original_cost=from_json(Cost, document["original_cost"]),
            cost=from_json(Cost, document["cost"]),
            head_path=document["head_path"],
            weights=tensors,
        )
    except (KeyError, TypeError) as error:
        raise ModelFileError(f"{path}: the header is incomplete ({error}). Make the file again.") from error
