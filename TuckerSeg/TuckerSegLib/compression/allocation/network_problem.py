"""The choices that a network has: read off a pass on shapes, and what the methods know of its errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from torch import nn

from ..channel_graph import ChannelGraph, channel_graph
from ..layer_work import kind_of
from ..layers import convolutions
from ..trace import NORMS, Call, Trace, trace
from .pricing import Pricing
from .problem import Group, Layer, Problem

FINE, COARSE = 8, 16  # steps of the channels that a group keeps
WIDE = 128  # channels above which coarse steps do


@dataclass(frozen=True, eq=False)
class Evidence:
    """What each means costs in error: shares of the logits' energy, by path of the convolution. None: no such means.

    Attributes:
        ranks: Input rank to errors (O + 1,), index = output rank; see ``tucker.RankEvidence.errors``.
        channels: Errors (O + 1,), index = output channels that are kept.
        eight_bits: Error of the layer with whole numbers.
    """

    ranks: Mapping[str, Mapping[int, np.ndarray]] | None = None
    channels: Mapping[str, np.ndarray] | None = None
    eight_bits: Mapping[str, float] | None = None


def problem_of(
    network: nn.Module,
    patch_shape: Sequence[int],
    input_channels: int | None,
    evidence: Evidence,
    pricing: Pricing,
    rank_multiple: int = 8,
    corrections: Mapping[str, float] = MappingProxyType({}),
) -> Problem:
    """Read a network's choices and prices; touches neither weights nor network.

    Args:
        network: From (B, C, Z, Y, X) to logits; on the meta device, too.
        patch_shape: (Z, Y, X) in voxels.
        input_channels: C; None takes the input channels of the network's first convolution.
        evidence: Errors of the means that there are.
        pricing: Of the budget.
        rank_multiple: Ranks that are tried are multiples of it.
        corrections: See ``Problem``.

    Raises:
        SpecError: The network cannot take such a patch.
    """
    forward_pass = trace(network, patch_shape, input_channels)
    graph = channel_graph(network, patch_shape, input_channels)
    calls = {call.path: call for call in forward_pass.calls}
    convs = {path: conv for path, conv in convolutions(network).items() if path in calls}
    groups = {path: _group(network, graph, path, evidence.channels, calls) for path in graph.groups if path in convs}
    layers = {
        path: _layer(path, conv, calls[path], graph, forward_pass, evidence, pricing, rank_multiple)
        for path, conv in convs.items()
        if not _is_spared(path, conv, forward_pass, pricing)
    }
    behind_groups = {norm.path for group in graph.groups.values() for norm in group.norms}
    fixed = sum(
        float(pricing.norm(call.output_shape[1], math.prod(call.output_shape[2:]), _has_learned(network, call.path)))
        for call in forward_pass.calls
        if isinstance(network.get_submodule(call.path), NORMS) and call.path not in behind_groups
    )
    for head in forward_pass.heads:
        conv = network.get_submodule(head)
        channels = min(conv.in_channels, conv.out_channels)
        fixed += float(pricing.gathering(channels, math.prod(calls[head].output_shape[2:])))
    return Problem(layers, groups, pricing, fixed, corrections)


def _is_spared(path: str, conv: nn.Module, forward_pass: Trace, pricing: Pricing) -> bool:
    """Whether a layer is a head that is not run with each patch."""
    return pricing.spares_heads and path in forward_pass.heads and conv.in_channels < conv.out_channels


def _group(
    network: nn.Module,
    graph: ChannelGraph,
    path: str,
    errors: Mapping[str, np.ndarray] | None,
    calls: Mapping[str, Call],
) -> Group:
    channels = graph.groups[path].channels
    norms = tuple(
        (math.prod(calls[norm.path].output_shape[2:]), _has_learned(network, norm.path))
        for norm in graph.groups[path].norms
    )
    if errors is None or path not in errors:
        return Group((channels,), (0.0,), norms)
    step = FINE if channels <= WIDE else COARSE
    sizes = (*range(step, channels, step), channels)
    return Group(sizes, tuple(max(0.0, float(errors[path][size])) for size in sizes), norms)


def _layer(
    path: str,
    conv: nn.Module,
    call: Call,
    graph: ChannelGraph,
    forward_pass: Trace,
    evidence: Evidence,
    pricing: Pricing,
    rank_multiple: int,
) -> Layer:
    eight_bits = evidence.eight_bits is not None and pricing.has_eight_bits(kind_of(conv))
    sources = [
        (group.producer, reader.offset)
        for group in graph.groups.values()
        for reader in group.readers
        if reader.path == path
    ]
    covered = sum(graph.groups[producer].channels for producer, _ in sources)
    parts = len(sources) + (covered < conv.in_channels and bool(sources))
    return Layer(
        kind=kind_of(conv),
        taps=math.prod(conv.kernel_size),
        voxels=(math.prod(call.input_shape[2:]), math.prod(call.output_shape[2:])),
        inputs=conv.in_channels,
        outputs=conv.out_channels,
        sources=tuple(producer for producer, _ in sources),
        target=path if path in graph.groups else None,
        has_bias=conv.bias is not None,
        rank_errors=_rank_errors(path, conv, forward_pass, evidence),
        rank_multiple=rank_multiple,
        eight_bits_error=evidence.eight_bits.get(path) if eight_bits else None,
        parts=max(1, parts),
    )


def _rank_errors(path: str, conv: nn.Module, forward_pass: Trace, evidence: Evidence) -> np.ndarray | None:
    """Errors (I + 1, O + 1) of all rank pairs, those of input ranks between known ones interpolated; None: stays whole.

    As with Tucker compression alone, the first layer, the heads and 1x1x1 convolutions stay whole.
    """
    outer = path == forward_pass.stem or path in forward_pass.heads
    if evidence.ranks is None or path not in evidence.ranks or outer or math.prod(conv.kernel_size) == 1:
        return None
    known = evidence.ranks[path]
    ranks = sorted(known)
    rows = np.stack([np.asarray(known[rank], dtype=float) for rank in ranks])
    wanted = np.arange(conv.in_channels + 1)
    table = np.stack([np.interp(wanted, ranks, column) for column in rows.T], axis=1)
    return np.minimum.accumulate(table, axis=0)


def _has_learned(network: nn.Module, path: str) -> bool:
    """Whether a normalization has learned values per channel."""
    return getattr(network.get_submodule(path), "weight", None) is not None
