"""Filter pruning after training: output channels are left out, and their readers make up for them.

Which channels go is decided by what the calibrated change of the logits is after compensation (elimination.py), how
many go of which layer by what that costs against what it saves (allocation.py). Channels are followed through
concatenations, skips, norms and transposed convolutions (channel_graph.py); of residual blocks only what lies inside is
pruned. The compensation is the linear prediction of what is gone by what stays (slicing.py).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import numpy as np
from torch import nn

from ...errors import ModelFileError, SpecError
from ...printable import shown
from ...records.compression import Cost, LayerChange
from ..channel_graph import ChannelGraph, channel_graph
from ..cost import count
from ..layers import CONVOLUTIONS
from ..trace import structure_of
from .allocation import Kept, PrunedCost, spread, total_error
from .details import kept_channels
from .evidence import PruningEvidence
from .material import Material
from .merging import merge_network
from .slicing import Cut, slice_network
from .spec import Spec

__all__ = ["Material", "Spec", "apply", "plan"]


def plan(
    network: nn.Module,
    spec: Spec,
    patch_shape: Sequence[int],
    input_channels: int | None = None,
    materials: Sequence[Material] = (),
) -> tuple[LayerChange, ...]:
    """Decide how many channels every convolution keeps. Touches nothing; works on the meta device too.

    Args:
        network: From (B, C, Z, Y, X) to logits.
        spec: How far to prune.
        patch_shape: (Z, Y, X) in voxels, for the costs.
        input_channels: C; None takes the input channels of the network's first convolution.
        materials: What ``prepare`` gave for each of the networks that keep these numbers of channels; only for a spec
            that needs weights.

    Returns:
        One entry per convolution and normalization that runs, in the network's order; those that stay as they are say
        why.

    Raises:
        SpecError: The network cannot take such a patch, the spec names a layer that may not be pruned, or materials
            are needed and missing.
    """
    graph = channel_graph(network, patch_shape, input_channels)
    before = count(network, patch_shape, input_channels).layers
    kept = _numbers(network, spec, graph, before, materials)
    smaller = structure_of(network)
    slice_network(smaller, _leading(graph, kept), None, values=False)
    after = count(smaller, patch_shape, input_channels).layers
    norms = {norm.path for group in graph.groups.values() for norm in group.norms}
    changes = []
    for path, module in network.named_modules():
        if path in before and (isinstance(module, CONVOLUTIONS) or path in norms):
            changes.append(_change(path, module, (before[path], after[path]), kept, graph))
    return tuple(changes)


def apply(network: nn.Module, changes: Iterable[LayerChange], material: Material | None = None) -> None:
    """Take the planned channels out, in place, at every alias.

    Args:
        network: Changed in place. New weights are on the device and of the type of the old ones.
        changes: What :func:`plan` decided for a network of this structure.
        material: What ``prepare`` made of this network's weights: which channels stay. None builds the structure with
            uninitialized weights, to be loaded from a file; this works on the meta device too.

    Raises:
        SpecError: The changes or the material belong to another network; nothing has been changed then.
        ModelFileError: The changes are not those of this method.
    """
    graph = channel_graph(network)
    kept = _kept_by_changes(network, graph, changes)
    if material is None:
        slice_network(network, _leading(graph, kept), None, values=False)
        return
    if material.merges:
        merge_network(network, graph, kept)
        return
    if any(len(material.evidence.orders.get(path, ())) != graph.groups[path].channels for path in kept):
        raise SpecError("the material of this pruning belongs to another network")
    cut = Cut(graph, {path: material.evidence.kept(path, channels) for path, channels in kept.items()})
    slice_network(network, cut, material.moments)


def _numbers(
    network: nn.Module,
    spec: Spec,
    graph: ChannelGraph,
    layers: dict[str, Cost],
    materials: Sequence[Material],
) -> Kept:
    """How many channels each layer keeps, of the layers that lose some."""
    sizes = {path: group.channels for path, group in graph.groups.items()}
    if spec.channels is not None:
        kept = _named(spec.channels, graph)
    else:
        kept = {path: spec.rounded(channels) for path, channels in sizes.items()}
    if spec.needs_weights:
        if not materials:
            raise SpecError(f"the policy {spec.policy!r} looks at the weights: it needs what was prepared of them")
        if spec.policy == "sauron":
            kept = {path: max(each.numbers[path] for each in materials) for path in sizes}
        else:
            cost = PrunedCost(network, graph, layers, spec.budget)
            steps = {path: spec.steps(channels) for path, channels in sizes.items()}
            kept = _best(kept, steps, _errors(materials), cost)
    return {path: channels for path, channels in kept.items() if channels < sizes[path]}


def _named(channels: dict[str, int], graph: ChannelGraph) -> Kept:
    """The numbers of channels that a spec names.

    Raises:
        SpecError: A layer may not be pruned, or has fewer channels.
    """
    for path, kept in channels.items():
        group = graph.groups.get(path)
        if group is None:
            reason = graph.kept_whole.get(path, "the network has no such convolution")
            raise SpecError(f"channels: {shown(path)} cannot be pruned: {reason}.")
        if kept > group.channels:
            raise SpecError(f"channels: {shown(path)} has {group.channels} channels, so it cannot keep {shown(kept)}.")
    return dict(channels)


def _kept_by_changes(network: nn.Module, graph: ChannelGraph, changes: Iterable[LayerChange]) -> Kept:
    """The numbers of channels that changes name, checked against a network."""
    modules, kept, seen = dict(network.named_modules()), {}, set()
    for change in changes:
        module = modules.get(change.path)
        if module is None or type(module).__name__ != change.kind or _shape(module) != tuple(change.shape):
            actual = "no such layer" if module is None else f"{type(module).__name__} {_shape(module)}"
            raise SpecError(
                f"{shown(change.path)}: planned for a {shown(change.kind)} {shown(change.shape)}, found {actual}"
            )
        if change.path in seen:
            raise ModelFileError(f"{shown(change.path)}: a pruning names each layer once.")
        seen.add(change.path)
        channels = kept_channels(change)
        if channels is None:
            continue
        group = graph.groups.get(change.path)
        if group is None:
            reason = graph.kept_whole.get(change.path, "it is no convolution")
            raise SpecError(f"{change.path}: its channels cannot be pruned: {reason}")
        if channels >= group.channels:
            raise SpecError(f"{change.path}: of {group.channels} channels it cannot keep {shown(channels)}")
        kept[change.path] = channels
    return kept


def _best(uniform: Kept, steps: dict[str, list[int]], errors: dict[str, np.ndarray], cost: PrunedCost) -> Kept:
    """Numbers of channels that cost no more than the same share everywhere, and have less error."""
    budget = cost.total(uniform)
    best = spread(steps, errors, cost.total, budget)
    is_better = cost.total(best) <= budget and total_error(errors, best) <= total_error(errors, uniform)
    return best if is_better else uniform


def _errors(materials: Sequence[Material]) -> dict[str, np.ndarray]:
    """The errors of all networks that keep the same numbers of channels, added up."""
    return functools.reduce(PruningEvidence.plus, [each.evidence for each in materials]).errors


def _leading(graph: ChannelGraph, kept: Kept) -> Cut:
    """A cut that keeps the first channels: for shapes alone, all choices are alike."""
    return Cut(graph, {path: range(channels) for path, channels in kept.items()})


def _change(path: str, module: nn.Module, costs: tuple[Cost, Cost], kept: Kept, graph: ChannelGraph) -> LayerChange:
    before, after = costs
    reason = None
    if before == after and path not in kept:
        reason = graph.kept_whole.get(path, "all channels are kept")
    return LayerChange(
        path=path,
        kind=type(module).__name__,
        shape=_shape(module),
        before=before,
        after=after,
        skipped_because=reason,
        details={"kept": kept[path]} if path in kept else {},
    )


def _shape(module: nn.Module) -> tuple[int, ...]:
    """Of a layer's weight; of a normalization without one, its channels."""
    weight = getattr(module, "weight", None)
    return tuple(weight.shape) if weight is not None else (getattr(module, "num_features", 0),)
