"""SegmentationModel: an nnU-Net model, original or compressed, with all that a prediction needs.

One type for both (``recipes`` empty = original), so both run through the same code. Knows its own file, not
where models come from (``models/loading.py``).

What a model is told from others by is its ``key``; everything that is kept of it, in files or in memory, hangs on that.
It is made of the plans, the folds, the recipes and the identity of the weights. That identity is never what a file says
of itself (``source_sha256`` is such a claim, on which no key hangs): it is the checksum of the file that they were read
from, checked with it; the digest of the nnU-Net files that they were converted from; the key of the model that they
were computed from together with how (its last recipe); or, for weights that came in another way, a digest of the
tensors.
So the key of a compressed model is known before its weights are computed (:meth:`SegmentationModel.planned`), and no
weights are hashed that were hashed on reading.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import compression, tensor_file
from ..cache import key_of
from ..compression.heads import drop_unused_heads
from ..compression.layers import decode, replace_modules
from ..errors import SpecError
from ..linear_head import Head
from ..nnunet.network import build_network
from ..nnunet.plans import ModelPlans
from ..nnunet.weights import stored_tensors
from ..records.compression import CompressionRecipe, Cost
from ..records.serialization import to_json
from . import coded_weights

if TYPE_CHECKING:
    import torch


ENGINE_VERSION = 1  # raise when the same source and settings give other weights: old cache entries are passed over


class Weights(dict):
    """Weights of a model, ``fold/parameter`` (or buffer) to tensor, with the identity that tells them from others.

    Not to be changed; a plain dictionary in its place is identified by its tensors.

    Args:
        tensors: By name.
        identity: Text that no other weights have, see the head of this file; None: a digest of the tensors, computed
            when it is first read.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], identity: str | None = None):
        super().__init__(tensors)
        self._identity = identity

    @property
    def identity(self) -> str:
        """Text that no other weights have; part of the model's key."""
        if self._identity is None:
            on_cpu = ((name, self[name].detach().cpu()) for name in sorted(self))
            self._identity = f"tensors {tensor_file.content_sha256(on_cpu, None)}"
        return self._identity


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
        weights: ``fold/parameter`` (or buffer) to tensor, aliases once. Becomes :class:`Weights`.
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

    def __post_init__(self) -> None:
        if not isinstance(self.weights, Weights):
            object.__setattr__(self, "weights", Weights(self.weights))

    @functools.cached_property
    def key(self) -> str:
        """32 hexadecimal digits that change with anything that changes the model's output.

        Nothing that a file merely claims is part of them.
        """
        return key_of(
            engine=ENGINE_VERSION,
            weights=self.weights.identity,
            plans=to_json(replace(self.plans, documents=None)),
            folds=self.folds,
            recipes=[[recipe.method, recipe.spec] for recipe in self.recipes],
        )

    def planned(self, recipe: CompressionRecipe, **facts: Any) -> SegmentationModel:
        """This model after one more recipe, before its weights are computed: it has the key of the result, no weights.

        Args:
            recipe: What will be done to this model; its changes do not count for the key.
            facts: All else that decides the result, in JSON types.
        """
        identity = f"made of {key_of(model=self.key, by=[recipe.method, recipe.spec], of=facts)}"
        return replace(self, recipes=(*self.recipes, recipe), weights=Weights({}, identity))

    def with_weights(self, weights: Mapping[str, torch.Tensor], **fields: Any) -> SegmentationModel:
        """A :meth:`planned` model with the weights that were computed for it; its key stays.

        Args:
            weights: ``fold/parameter`` (or buffer) to tensor.
            fields: Other fields of this class that became known with the weights, as ``cost``.
        """
        return replace(self, weights=Weights(weights, self.weights.identity), **fields)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights of all folds."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.weights.values())

    @property
    def has_weights(self) -> bool:
        """Whether the model can be run; one :meth:`without_weights` cannot."""
        return not any(tensor.is_meta for tensor in self.weights.values())

    def without_weights(self) -> SegmentationModel:
        """This model with the shapes of its weights alone, which take no memory: it can be planned on, not run."""
        import torch

        # Not empty_like, which imports sympy for a tensor that is on the meta device already.
        shapes = {name: torch.empty(each.shape, dtype=each.dtype, device="meta") for name, each in self.weights.items()}
        return replace(self, weights=Weights(shapes, self.weights.identity))

    def network(self, fold: str, features: bool = False, stored: bool = False) -> torch.nn.Module:
        """Build one fold's network with its weights, each of the type that the structure gives it.

        Args:
            fold: One of ``folds``.
            features: Leave the head out: the network then ends with the last stage's features.
            stored: Leave layers that hold their weights in another form than they run in as they are, for whoever
                changes these; else they are decoded.

        Returns:
            Module from (B, C, Z, Y, X) to logits (B, L, Z, Y, X), or features (B, F, Z, Y, X); in evaluation mode.

        Raises:
            SpecError: Features are asked for of a network that does not end in a 1x1x1 convolution.
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
                    tensor = tensor.to(_type_of(module._parameters.get(leaf)))
                    module.register_parameter(leaf, torch.nn.Parameter(tensor, requires_grad=False))
        if not stored:
            decode(network)
        if features:
            if self.head_path is None:
                raise SpecError(f"{self.name}: the network does not end in a 1x1x1 convolution; ask for logits.")
            replace_modules(network, {network.get_submodule(self.head_path): torch.nn.Identity()})
        return network.eval()

    def head(self, fold: str) -> Head:
        """The last 1x1x1 convolution of a fold's network, in float32; only where ``head_path`` is not None."""
        weight = self.weights[f"{fold}/{self.head_path}.weight"]
        if not weight.is_floating_point():
            weight = self.network(fold).get_submodule(self.head_path).weight.detach()
        weight = weight.float()
        bias = self.weights.get(f"{fold}/{self.head_path}.bias")
        return Head(weight.flatten(1), None if bias is None else bias.float(), self.head_path)

    def header(self) -> dict[str, Any]:
        """All but the weights, in JSON types, as a file has it."""
        return {
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

    def save(self, path: str | Path, entry: str | None = None) -> None:
        """Write the model as a ``.tuckerseg`` file.

        Args:
            path: Of the file; one that is there is replaced.
            entry: Name of the cache's entry that the file becomes (``cache.entry_name``); None: of none.

        Raises:
            OutputError: It cannot be written.
        """
        # A cache's entry is read often and copied nowhere: its index maps stay as they are.
        tensors, fields = coded_weights.coded(self.weights) if entry is None else (self.weights, {})
        tensor_file.write_tensors(Path(path), tensors, {**self.header(), **fields}, entry)

    def structure(self) -> torch.nn.Module:
        """The network of one fold without weights, on the meta device, with all changes of the recipes."""
        import torch

        with torch.device("meta"):
            network = build_network(self.plans.architecture, self.plans.input_channels, self.plans.logit_channels)
            drop_unused_heads(network, self.plans.patch_shape, self.plans.input_channels)
            for recipe in self.recipes:
                if recipe.changes:  # else weights alone were changed
                    compression.method(recipe.method).apply(network, recipe.changes)
        return network


def _type_of(parameter: torch.nn.Parameter | None) -> torch.dtype:
    """The type that a method's structure gives a weight; single precision where it leaves that open."""
    import torch

    return torch.float32 if parameter is None else parameter.dtype


def require_original(model: SegmentationModel) -> None:
    """Raise SpecError where a model has been compressed already."""
    if model.recipes:
        raise SpecError(f"{model.name} is compressed already; start from the original model.")


def require_pair(compressed: SegmentationModel, original: SegmentationModel) -> None:
    """Find out whether a compressed model was made of another one, which may be compressed in fewer steps.

    Args:
        compressed: With at least one recipe.
        original: The model whose labels count as right.

    Raises:
        SpecError: It was not, or it is not compressed.
    """
    if not compressed.recipes:
        raise SpecError(
            f"{compressed.name} is not compressed: there is nothing to gain. Compress it first.",
            shell="Compressed it is by --rank 0.5, for example.",
        )
    earlier = compressed.recipes[: len(original.recipes)]
    same_source = (compressed.source_sha256, compressed.folds) == (original.source_sha256, original.folds)
    if not same_source or earlier != original.recipes or len(earlier) == len(compressed.recipes):
        raise SpecError(f"{compressed.name} was not made of {original.name}; give the original that it was made of.")


def weights_of(network: torch.nn.Module, fold: str) -> dict[str, torch.Tensor]:
    """Parameters and buffers of a network as a model holds them, ``fold/name`` to tensor; aliases once.

    Args:
        network: Of one fold; its tensors are not copied.
        fold: Name of the fold, as ``0``.
    """
    return {f"{fold}/{name}": tensor.detach() for name, tensor in stored_tensors(network).items()}


def uses_features(model: SegmentationModel) -> bool:
    """Whether all folds of a model together have fewer features than logits, so that features are accumulated."""
    return accumulated_channels(model) < model.plans.logit_channels


def accumulated_channels(model: SegmentationModel) -> int:
    """Channels per voxel that a run of a model sums over patches: features of all folds, or logits where fewer."""
    if model.head_path is None:
        return model.plans.logit_channels
    features = sum(model.head(fold).weight.shape[1] for fold in model.folds)
    return min(features, model.plans.logit_channels)


def joint_key(keys: Sequence[str]) -> str:
    """One key for several networks from theirs; that of a single network is its own."""
    return keys[0] if len(keys) == 1 else key_of(parts=list(keys))
