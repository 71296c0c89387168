"""Tucker-2 compression: a k^3 convolution becomes 1x1x1, a small k^3 core, 1x1x1.

Kim et al., ICLR 2016 (arXiv:1511.06530); rank policy and counts of the Tucker paper on nnU-Net (arXiv:2404.09683)
as a named constructor. ``plan`` decides and touches nothing, ``prepare`` (in material.py) does the slow part once,
``apply`` cuts it to the planned ranks. With a calibration the factors minimize the error of the logits instead of
that of the weights (whitening.py), and the ranks are spread over the layers by it (rank_allocation.py).
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from ...errors import SpecError
from ...printable import shown
from ...records.compression import Cost, LayerChange
from ..layers import replace_modules
from ..linear_layers import LinearView, Weighted, kind_of_layer, module_of, weighted_layers
from ..trace import Call, Trace, trace
from .basis import Basis, RankEvidence, decompose
from .calibrated_basis import CalibratedBasis
from .costs import dense_cost, tucker_cost
from .details import TuckerDetails
from .layer_ranks import ranks_of_layer
from .layers import build, fill
from .material import Material
from .rank_allocation import RankChoice, allocate, rank_steps, total_cost, total_error
from .spec import Spec

__all__ = ["Basis", "CalibratedBasis", "Material", "Spec", "apply", "decompose", "plan"]


def plan(
    network: nn.Module,
    spec: Spec,
    patch_shape: Sequence[int],
    input_channels: int | None = None,
    materials: Sequence[Material] = (),
) -> tuple[LayerChange, ...]:
    """Decide the ranks of every convolution. Touches nothing; works on the meta device too.

    Args:
        network: From (B, C, Z, Y, X) to logits.
        spec: How far to compress.
        patch_shape: (Z, Y, X) in voxels, for the costs.
        input_channels: C; None takes the input channels of the network's first convolution.
        materials: What :func:`prepare` gave for each of the networks that are to have these ranks; only for rank modes
            that look at weights.

    Returns:
        One entry per 3D convolution, in the network's order; those that stay dense say why.

    Raises:
        SpecError: The network cannot take such a patch, or materials are needed and missing.
    """
    evidence = _evidence(materials)
    if spec.needs_weights and evidence is None:
        raise SpecError(f"the rank mode {spec.rank_mode!r} looks at the weights: it needs their decomposition")
    forward_pass = trace(network, patch_shape, input_channels)
    convs = weighted_layers(network)
    if spec.rank_mode == "given":
        return _plan_given(convs, spec, forward_pass)
    if spec.needs_calibration:
        return _plan_together(convs, spec, forward_pass, evidence)
    return tuple(
        _plan_layer(path, conv, spec, forward_pass, ranks_of_layer(path, conv, spec, evidence))
        for path, conv in convs.items()
    )


def apply(
    network: nn.Module,
    changes: Iterable[LayerChange],
    material: Material | Basis | CalibratedBasis | None = None,
) -> None:
    """Put the planned layers in place of the convolutions, in place, at every alias.

    Args:
        network: Changed in place. New layers are on the device and of the type of the old weights.
        changes: What :func:`plan` decided for a network of this structure.
        material: What :func:`prepare` made of this network's weights, or the decompositions themselves. None builds the
            structure with uninitialized weights, to be loaded from a file; this works on the meta device too.

    Raises:
        SpecError: The changes or the material belong to another network; nothing has been changed then.
        ModelFileError: The changes are not those of this method.
    """
    basis = material.basis() if isinstance(material, Material) else material
    convs = weighted_layers(network)
    replacements = {}
    for change in changes:
        conv = convs.get(change.path)
        if conv is None or kind_of_layer(conv) != change.kind or tuple(conv.weight.shape) != tuple(change.shape):
            actual = "no such layer" if conv is None else f"{kind_of_layer(conv)} {tuple(conv.weight.shape)}"
            raise SpecError(
                f"{shown(change.path)}: planned for a {shown(change.kind)} {shown(change.shape)}, found {actual}"
            )
        details = TuckerDetails.from_change(change)
        if details.ranks is None:
            continue
        if conv.groups != 1 or details.ranks[0] > conv.out_channels or details.ranks[1] > conv.in_channels:
            raise SpecError(f"{change.path}: ranks {shown(details.ranks)} exceed the channels of the layer")
        if isinstance(conv, LinearView) and not _are_of_a_matrix(details, conv):
            raise SpecError(f"{change.path}: {shown(details.ranks)} are no ranks of a linear layer, which has one")
        layers = replacements[module_of(conv)] = build(conv, details)
        if basis is not None:
            if basis.shapes.get(change.path) != _output_first(conv):
                raise SpecError(f"{change.path}: the decomposition belongs to another network")
            fill(layers, conv, details, *basis.truncated(change.path, details.ranks, details.sweeps))
    replace_modules(network, replacements)


def _evidence(materials: Sequence[Material]) -> RankEvidence | None:
    """The evidence of all networks that share their ranks, added up; None without any."""
    evidence = [material.evidence for material in materials if material.evidence is not None]
    return functools.reduce(RankEvidence.plus, evidence) if evidence else None


def _are_of_a_matrix(details: TuckerDetails, linear: LinearView) -> bool:
    """Whether ranks are those of two linear layers in place of one."""
    return details.merged and details.ranks[0] < linear.out_channels and details.ranks[1] == linear.in_channels


def _plan_layer(path: str, conv: Weighted, spec: Spec, forward_pass: Trace, ranks: tuple[int, int]) -> LayerChange:
    calls, linear = forward_pass.calls_of(path), isinstance(conv, LinearView)
    before, after = dense_cost(conv, calls), tucker_cost(conv, ranks, calls, merged=linear)
    reason = _why_dense(path, conv, spec, forward_pass)
    if reason is None and (spec.keep_if_not_cheaper or linear) and after.macs >= before.macs:
        reason = f"not cheaper: {after.macs} MACs at ranks {ranks}, {before.macs} dense"
    return _change(
        path,
        conv,
        before,
        None if reason else (ranks, after),
        reason,
        0 if reason or linear else spec.sweeps,
        linear and not reason,
    )


def _why_dense(path: str, conv: Weighted, spec: Spec, forward_pass: Trace) -> str | None:
    """Why a layer stays dense at any rank; None where it may be compressed."""
    if reason := _why_impossible(conv, forward_pass.calls_of(path)):
        return reason
    if spec.keep_stem_and_head and path == forward_pass.stem:
        return "first layer"
    if spec.keep_stem_and_head and path in forward_pass.heads:
        return "output layer"
    if spec.keep_pointwise and math.prod(conv.kernel_size) == 1 and not isinstance(conv, LinearView):
        return "1x1x1 convolution"
    return None


def _why_impossible(conv: Weighted, calls: Sequence[Call]) -> str | None:
    """Why a layer cannot be decomposed; None where it can."""
    if not calls:
        return "takes no part in the forward pass"
    if not conv.weight.is_floating_point():
        return f"its weights are {str(conv.weight.dtype).removeprefix('torch.')}"
    return f"grouped convolution (groups = {conv.groups})" if conv.groups != 1 else None


def _plan_together(
    convs: dict[str, Weighted], spec: Spec, forward_pass: Trace, evidence: RankEvidence
) -> tuple[LayerChange, ...]:
    """Changes of all layers, the budget spread over them so that their errors' sum is smallest."""
    dense = {path: dense_cost(conv, forward_pass.calls_of(path)) for path, conv in convs.items()}
    reasons = {path: _why_dense(path, conv, spec, forward_pass) for path, conv in convs.items()}
    counted = operator.attrgetter(spec.budget)
    choices = {
        path: [RankChoice(None, counted(dense[path]), 0.0)]
        + ([] if reasons[path] else _choices(path, conv, spec, forward_pass, evidence))
        for path, conv in convs.items()
    }
    picked = allocate(choices, _budget(convs, spec, forward_pass))
    uniform = _uniform_choices(convs, choices, spec)
    if total_cost(uniform) <= _budget(convs, spec, forward_pass) and total_error(uniform) < total_error(picked):
        picked = uniform
    ranks = {path: choice.ranks for path, choice in picked.items() if choice.ranks}
    words = "an error here costs more than what it saves"
    return _changes_of_ranks(convs, forward_pass, ranks, {path: reason or words for path, reason in reasons.items()})


def _plan_given(convs: dict[str, Weighted], spec: Spec, forward_pass: Trace) -> tuple[LayerChange, ...]:
    """Changes of the layers whose ranks a spec gives.

    Raises:
        SpecError: There is no such layer, it cannot be decomposed, or has fewer channels.
    """
    for path, (output_rank, input_rank) in spec.ranks.items():
        conv = convs.get(path)
        if conv is None:
            raise SpecError(f"ranks are given for {shown(path)}, but the network has no such convolution")
        if isinstance(conv, LinearView) and input_rank != conv.in_channels:
            raise SpecError(f"{path}: a linear layer has one rank; the other should be its {conv.in_channels} inputs")
        if output_rank > conv.out_channels or input_rank > conv.in_channels:
            raise SpecError(
                f"{path}: ranks should be at most {conv.out_channels} x {conv.in_channels}, its channels; found "
                f"{output_rank} x {input_rank}"
            )
        if reason := _why_impossible(conv, forward_pass.calls_of(path)):
            raise SpecError(f"{path}: ranks are given for a layer that cannot be decomposed: {reason}")
    ranks = {path: tuple(pair) for path, pair in spec.ranks.items()}
    return _changes_of_ranks(convs, forward_pass, ranks, dict.fromkeys(convs, "no ranks are given for it"))


def _changes_of_ranks(
    convs: dict[str, Weighted], forward_pass: Trace, ranks: dict[str, tuple[int, int]], reasons: dict[str, str]
) -> tuple[LayerChange, ...]:
    """Changes of all layers, factors at full rank merged; the layers without ranks stay dense for their reasons."""
    changes = []
    for path, conv in convs.items():
        calls, pair = forward_pass.calls_of(path), ranks.get(path)
        cost = pair and (pair, tucker_cost(conv, pair, calls, merged=True))
        reason = None if pair else reasons[path]
        changes.append(_change(path, conv, dense_cost(conv, calls), cost, reason, 0, merged=pair is not None))
    return tuple(changes)


def _choices(path: str, conv: Weighted, spec: Spec, forward_pass: Trace, evidence: RankEvidence) -> list[RankChoice]:
    """Every rank pair of a layer that costs less than the layer as it is."""
    counted = operator.attrgetter(spec.budget)
    calls, most = forward_pass.calls_of(path), counted(dense_cost(conv, forward_pass.calls_of(path)))
    if isinstance(conv, LinearView):
        steps = [conv.in_channels], rank_steps(min(conv.in_channels, conv.out_channels), spec.rank_multiple)
    else:
        steps = rank_steps(conv.in_channels, spec.rank_multiple), rank_steps(conv.out_channels, spec.rank_multiple)
    choices = []
    for input_rank in steps[0] if path in evidence.errors else ():
        for output_rank in steps[1]:
            ranks = (output_rank, input_rank)
            cost = counted(tucker_cost(conv, ranks, calls, merged=True))
            if cost < most:
                choices.append(RankChoice(ranks, cost, float(evidence.errors[path][input_rank][output_rank])))
    return choices


def _uniform_choices(
    convs: dict[str, Weighted], choices: dict[str, list[RankChoice]], spec: Spec
) -> dict[str, RankChoice]:
    """The choices that the same rank ratio in every layer amounts to."""
    relative = dataclasses.replace(spec, rank_mode="relative", calibration=None)
    picked = {}
    for path, conv in convs.items():
        ranks = ranks_of_layer(path, conv, relative, None)
        picked[path] = next((choice for choice in choices[path] if choice.ranks == ranks), choices[path][0])
    return picked


def _budget(convs: dict[str, Weighted], spec: Spec, forward_pass: Trace) -> int:
    """MACs or parameters of the paper's ranks at this ratio, layers that would get dearer dense."""
    paper = Spec.paper(spec.rank_ratio, spec.minimum_rank)
    counted = operator.attrgetter(spec.budget)
    total = 0
    for path, conv in convs.items():
        calls = forward_pass.calls_of(path)
        dense = counted(dense_cost(conv, calls))
        if isinstance(conv, LinearView):  # of which the paper knows none: the share itself
            total += round(dense * spec.rank_ratio)
            continue
        ranks = (paper.rank(conv.out_channels), paper.rank(conv.in_channels))
        possible = calls and conv.groups == 1
        total += min(dense, counted(tucker_cost(conv, ranks, calls))) if possible else dense
    return total


def _change(
    path: str,
    conv: Weighted,
    before: Cost,
    ranks_and_cost: tuple[tuple[int, int], Cost] | None,
    reason: str | None,
    sweeps: int,
    merged: bool = False,
) -> LayerChange:
    ranks, after = ranks_and_cost or (None, before)
    return LayerChange(
        path=path,
        kind=kind_of_layer(conv),
        shape=tuple(conv.weight.shape),
        before=before,
        after=after,
        skipped_because=reason,
        details=TuckerDetails(ranks, sweeps, merged).to_json(),
    )


def _output_first(conv: Weighted) -> torch.Size:
    """Shape of the weight with the output channels first."""
    return torch.Size((conv.out_channels, conv.in_channels, *conv.kernel_size))
