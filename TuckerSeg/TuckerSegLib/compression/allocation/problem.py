"""What there is to choose: numbers of channels that groups keep, and what becomes of each layer between them.

Numbers alone: paths are names, the network is not needed. Two kinds of choices meet here. A group of channels that
loses some makes every layer cheaper that makes or reads them; a layer's own form (dense, Tucker ranks, whole numbers)
concerns that layer alone. Errors are shares of the logits' energy, and add up.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .pricing import Pricing

Kept = dict[str, int]  # group to the number of channels that it keeps


@dataclass(frozen=True)
class Form:
    """What becomes of a layer.

    Attributes:
        ranks: (output rank, input rank) of what its channels leave of it; None: it is not decomposed.
        eight_bits: Whether it computes with whole numbers; of a decomposed layer, whether its core does.
        cost: In the budget's unit.
        error: What it adds to that of the channels that are gone.
        squeezed: Whether a 1x1x1 layer comes before the core of a decomposed layer.
    """

    ranks: tuple[int, int] | None
    eight_bits: bool
    cost: float
    error: float
    squeezed: bool = False


@dataclass(frozen=True, eq=False)
class Layer:
    """A convolution.

    Attributes:
        kind: See ``layer_work``.
        taps: Of the kernel.
        voxels: Of its input and its output, for one patch.
        inputs, outputs: Channels of the original.
        sources: Groups among its inputs; inputs of no group always stay.
        target: The group of its outputs; None: all of them stay.
        has_bias: Whether it adds one.
        rank_errors: (inputs + 1, outputs + 1): error at [input rank, output rank]; None: not to be decomposed.
        rank_multiple: Ranks that are looked at are multiples of it, or all channels.
        eight_bits_error: Error of whole numbers; None: not to be had.
        parts: Runs of channels that are concatenated to its input; 1 where nothing is.
    """

    kind: str
    taps: int
    voxels: tuple[int, int]
    inputs: int
    outputs: int
    sources: tuple[str, ...] = ()
    target: str | None = None
    has_bias: bool = False
    rank_errors: np.ndarray | None = None
    rank_multiple: int = 8
    eight_bits_error: float | None = None
    parts: int = 1


@dataclass(frozen=True, eq=False)
class Group:
    """The output channels of a convolution, some of which may go.

    Attributes:
        sizes: Numbers of channels that may be kept, rising; the last is all of them.
        errors: Of each of these numbers; the last is 0.
        norms: Of each normalization behind them: voxels, and whether it has learned values per channel.
    """

    sizes: tuple[int, ...]
    errors: tuple[float, ...]
    norms: tuple[tuple[int, bool], ...] = ()


@dataclass(eq=False)
class Problem:
    """All layers and groups of a network, and what they cost.

    Attributes:
        layers: Path to layer.
        groups: Path of the convolution that makes the channels to their group.
        pricing: Of the budget.
        fixed_cost: Of all that nothing can be done about.
        corrections: Means (``tucker``, ``prune``, ``int8``) to what the prices of layers that it changes are multiplied
            with, since measurements of whole networks say so; those that are not named are priced right.
    """

    layers: Mapping[str, Layer]
    groups: Mapping[str, Group]
    pricing: Pricing
    fixed_cost: float = 0.0
    corrections: Mapping[str, float] = field(default_factory=dict)
    _forms: dict[tuple[str, int, int], list[Form]] = field(default_factory=dict)

    def everything(self) -> Kept:
        """All groups whole."""
        return {path: group.sizes[-1] for path, group in self.groups.items()}

    def original_cost(self) -> float:
        """Cost of the network as it is."""
        kept = self.everything()
        return self.cost_of_groups(kept) + sum(self.forms(path, kept)[0].cost for path in self.layers)

    def cost_of_groups(self, kept: Kept) -> float:
        """Cost beside the layers: the fixed one, and the norms behind the channels that are kept."""
        norms = (
            self.pricing.norm(kept[path], voxels, learned)
            for path, group in self.groups.items()
            for voxels, learned in group.norms
        )
        return self.fixed_cost + float(sum(norms))

    def error_of_groups(self, kept: Kept) -> float:
        """Error of the channels that are gone."""
        return sum(group.errors[group.sizes.index(kept[path])] for path, group in self.groups.items())

    def forms(self, path: str, kept: Kept) -> list[Form]:
        """Forms of a layer between the channels that are kept, none worse and dearer than another; the first is dense.

        Only the dense form may be so: it is there in any case.
        """
        layer = self.layers[path]
        gone = sum(self.groups[source].sizes[-1] - kept[source] for source in layer.sources)
        inputs = layer.inputs - gone
        outputs = layer.outputs if layer.target is None else kept[layer.target]
        key = (path, inputs, outputs)
        if key not in self._forms:
            self._forms[key] = _forms(layer, inputs, outputs, self.pricing, self.corrections)
        return self._forms[key]

    @functools.cached_property
    def touching(self) -> dict[str, tuple[str, ...]]:
        """Group to the layers that make or read its channels."""
        return {
            group: tuple(path for path, layer in self.layers.items() if group in (*layer.sources, layer.target))
            for group in self.groups
        }

    def by_one_means(self, means: str) -> Problem:
        """This problem with one of its means alone: ``tucker``, ``prune`` or ``int8``."""
        layers = {
            path: dataclasses.replace(
                layer,
                rank_errors=layer.rank_errors if means == "tucker" else None,
                eight_bits_error=layer.eight_bits_error if means == "int8" else None,
            )
            for path, layer in self.layers.items()
        }
        groups = self.groups
        if means != "prune":
            groups = {
                path: dataclasses.replace(group, sizes=group.sizes[-1:], errors=group.errors[-1:])
                for path, group in groups.items()
            }
        return Problem(layers, groups, self.pricing, self.fixed_cost, self.corrections)

    def means_of(self, path: str, kept: Kept, form: Form) -> tuple[str, ...]:
        """The means that change a layer, in the order of their steps."""
        layer = self.layers[path]
        groups = [each for each in (*layer.sources, layer.target) if each is not None]
        pruned = any(kept[group] < self.groups[group].sizes[-1] for group in groups)
        used = {"prune": pruned, "tucker": form.ranks is not None, "int8": form.eight_bits}
        return tuple(means for means, does in used.items() if does)


def _forms(layer: Layer, inputs: int, outputs: int, pricing: Pricing, corrections: Mapping[str, float]) -> list[Form]:
    beside = float(pricing.bias(outputs)) if layer.has_bias else 0.0
    if layer.parts > 1:
        beside += float(pricing.concatenation(inputs, layer.voxels[0]))
    size = (layer.kind, inputs, outputs, layer.taps, layer.voxels)
    dense = Form(None, False, float(pricing.convolution(*size)) + beside, 0.0)
    pruned = corrections.get("prune", 1.0) if (inputs, outputs) != (layer.inputs, layer.outputs) else 1.0
    dense = dataclasses.replace(dense, cost=dense.cost * pruned)
    others = []
    if layer.eight_bits_error is not None:
        cost = float(pricing.convolution(*size, eight_bits=True)) + beside
        others.append(Form(None, True, cost, layer.eight_bits_error))
    if layer.rank_errors is not None:
        others += _decomposed(layer, inputs, outputs, pricing, (beside, dense.cost))
        if layer.eight_bits_error is not None:
            others += _decomposed(layer, inputs, outputs, pricing, (beside, dense.cost), eight_bits=True)
    best, forms = np.inf, []
    others = [_corrected(form, pruned, corrections) for form in others]
    for form in sorted(others, key=lambda each: (each.cost, each.error)):
        if form.error < best and form.cost < dense.cost:
            best = form.error
            forms.append(form)
    return [dense, *forms]


def _corrected(form: Form, pruned: float, corrections: Mapping[str, float]) -> Form:
    """A form that is not dense, at the price that measurements of whole networks ask for."""
    factor = pruned
    if form.ranks is not None:
        factor *= corrections.get("tucker", 1.0)
    if form.eight_bits:
        factor *= corrections.get("int8", 1.0)
    return dataclasses.replace(form, cost=form.cost * factor) if factor != 1 else form


def _decomposed(
    layer: Layer,
    inputs: int,
    outputs: int,
    pricing: Pricing,
    costs: tuple[float, float],
    eight_bits: bool = False,
) -> list[Form]:
    """Every rank pair of a layer that costs less than the layer as it is.

    A factor at full rank is part of the core. Channels that are gone are gone from what a decomposition could lose:
    of its error only what lies above the error at full rank of the kept channels is added.

    Args:
        costs: Of what stays beside the weights (bias, concatenation), and of the layer as it is.
        eight_bits: Whether the core computes with whole numbers; rounding it costs what rounding the layer does.
    """
    candidates = [
        np.array([*range(layer.rank_multiple, count, layer.rank_multiple), count]) for count in (inputs, outputs)
    ]
    squeezed, expanded = candidates[0][:, None], candidates[1][None, :]
    read, written = layer.voxels
    squeeze = np.where(squeezed < inputs, pricing.convolution("pointwise", inputs, squeezed, 1, (read, read)), 0.0)
    expand = np.where(expanded < outputs, pricing.convolution("pointwise", expanded, outputs, 1, (written,) * 2), 0.0)
    core = pricing.convolution(layer.kind, squeezed, expanded, layer.taps, layer.voxels, eight_bits)
    beside, most = costs
    cost = squeeze + core + expand + beside
    errors = layer.rank_errors
    error = np.maximum(0.0, errors[np.ix_(*candidates)] - errors[inputs, outputs])
    if eight_bits:
        error = error + layer.eight_bits_error
    cost[-1, -1] = np.inf  # full ranks decompose nothing
    return [
        Form(
            (int(candidates[1][r]), int(candidates[0][s])),
            eight_bits,
            float(cost[s, r]),
            float(error[s, r]),
            bool(candidates[0][s] < inputs),
        )
        for s, r in np.argwhere(cost < most)
    ]
