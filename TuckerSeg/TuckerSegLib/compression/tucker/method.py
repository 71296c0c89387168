"""Tucker-2 compression: a k^3 convolution becomes 1x1x1, a small k^3 core, 1x1x1.

Kim et al., ICLR 2016 (arXiv:1511.06530); rank policy and counts of the Tucker paper on nnU-Net (arXiv:2404.09683)
as a named constructor. ``plan`` decides and touches nothing, ``decompose`` (in basis.py) does the slow part once,
``apply`` cuts it to the planned ranks. With a calibration the factors minimize the error of the logits instead of
that of the weights (whitening.py), and the ranks are spread over the layers by it (allocation.py).
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from ...errors import SpecError
from ...records.compression import Cost, LayerChange
from ..allocation import Choice, allocate, rank_steps, total_cost, total_error
from ..layers import convolutions, replace_modules
from ..trace import Trace, trace
from .basis import Basis, RankEvidence, decompose
from .calibrated_basis import CalibratedBasis
from .costs import dense_cost, tucker_cost
from .layers import build, fill
from .rank_policies import rank_of_energy, rank_of_evbmf
from .spec import Spec

__all__ = ["Basis", "CalibratedBasis", "Spec", "apply", "decompose", "plan"]


def plan(
    network: nn.Module,
    spec: Spec,
    patch_shape: Sequence[int],
    input_channels: int | None = None,
    evidence: RankEvidence | None = None,
) -> tuple[LayerChange, ...]:
    """Decide the ranks of every convolution. Touches nothing; works on the meta device too.

    Args:
        network: From (B, C, Z, Y, X) to logits.
        spec: How far to compress.
        patch_shape: (Z, Y, X) in voxels, for the costs.
        input_channels: C; None takes the input channels of the network's first convolution.
        evidence: What the decompositions say of the ranks, as ``Basis.evidence`` gives it; only for rank modes that
            look at weights.

    Returns:
        One entry per 3D convolution, in the network's order; those that stay dense say why.

    Raises:
        SpecError: The network cannot take such a patch, or evidence is needed and missing.
    """
    if spec.looks_at_weights and evidence is None:
        raise SpecError(f"the rank mode {spec.rank_mode!r} looks at the weights: it needs their decomposition")
    run = trace(network, patch_shape, input_channels)
    convs = convolutions(network)
    if spec.rank_mode == "auto" and spec.looks_at_weights:
        return _plan_together(convs, spec, run, evidence)
    return tuple(_plan_layer(path, conv, spec, run, _ranks(path, conv, spec, evidence)) for path, conv in convs.items())


def apply(network: nn.Module, changes: Iterable[LayerChange], basis: Basis | CalibratedBasis | None = None) -> None:
    """Put the planned layers in place of the convolutions, in place, at every alias.

    Args:
        network: Changed in place. New layers are on the device and of the type of the old weights.
        changes: What :func:`plan` decided for a network of this structure.
        basis: What :func:`decompose` made of this network's weights. None builds the structure with uninitialized
            weights, to be loaded from a file; this works on the meta device too.

    Raises:
        SpecError: The changes or the basis belong to another network; nothing has been changed then.
    """
    convs = convolutions(network)
    replacements = {}
    for change in changes:
        conv = convs.get(change.path)
        if conv is None or type(conv).__name__ != change.kind or tuple(conv.weight.shape) != tuple(change.shape):
            found = "no such layer" if conv is None else f"{type(conv).__name__} {tuple(conv.weight.shape)}"
            raise SpecError(f"{change.path}: planned for a {change.kind} {tuple(change.shape)}, found {found}")
        if change.ranks is None:
            continue
        replacements[conv] = build(conv, change)
        if basis is not None:
            if basis.shapes.get(change.path) != _output_first(conv):
                raise SpecError(f"{change.path}: the decomposition belongs to another network")
            fill(replacements[conv], conv, change, *basis.truncated(change.path, change.ranks, change.sweeps))
    replace_modules(network, replacements)


def _ranks(path: str, conv: nn.Module, spec: Spec, evidence: RankEvidence | None) -> tuple[int, int]:
    """Ranks of a layer that is looked at alone."""
    channels = (conv.out_channels, conv.in_channels)
    if spec.rank_mode not in ("energy", "evbmf") or path not in evidence.spectra:
        return tuple(map(spec.rank, channels))
    taps = math.prod(conv.kernel_size)
    found = []
    for spectrum, size, other in zip(evidence.spectra[path], channels, reversed(channels), strict=True):
        if spec.rank_mode == "energy":
            rank = rank_of_energy(spectrum, spec.rank_ratio)
        else:
            rank = rank_of_evbmf(spectrum, other * taps) if size <= other * taps else size
        found.append(spec.rounded(max(rank, spec.minimum_rank), size))
    return tuple(found)


def _plan_layer(path: str, conv: nn.Module, spec: Spec, run: Trace, ranks: tuple[int, int]) -> LayerChange:
    before, after = dense_cost(conv, run.calls_of(path)), tucker_cost(conv, ranks, run.calls_of(path))
    reason = _why_dense(path, conv, spec, run)
    if reason is None and spec.keep_if_not_cheaper and after.macs >= before.macs:
        reason = f"not cheaper: {after.macs} MACs at ranks {ranks}, {before.macs} dense"
    return _change(path, conv, before, None if reason else (ranks, after), reason, 0 if reason else spec.sweeps)


def _why_dense(path: str, conv: nn.Module, spec: Spec, run: Trace) -> str | None:
    """What keeps a layer from being compressed at any rank."""
    if not run.calls_of(path):
        return "takes no part in the forward pass"
    if conv.groups != 1:
        return f"grouped convolution (groups = {conv.groups})"
    if spec.keep_stem_and_head and path == run.stem:
        return "first layer"
    if spec.keep_stem_and_head and path in run.heads:
        return "output layer"
    if spec.keep_pointwise and math.prod(conv.kernel_size) == 1:
        return "1x1x1 convolution"
    return None


def _plan_together(
    convs: dict[str, nn.Module], spec: Spec, run: Trace, evidence: RankEvidence
) -> tuple[LayerChange, ...]:
    """Spread the budget over the layers."""
    dense = {path: dense_cost(conv, run.calls_of(path)) for path, conv in convs.items()}
    reasons = {path: _why_dense(path, conv, spec, run) for path, conv in convs.items()}
    counted = operator.attrgetter(spec.budget)
    choices = {
        path: [Choice(None, counted(dense[path]), 0.0)]
        + ([] if reasons[path] else _choices(path, conv, spec, run, evidence))
        for path, conv in convs.items()
    }
    picked = allocate(choices, _budget(convs, spec, run))
    uniform = _uniform_choices(convs, choices, spec)
    if total_cost(uniform) <= _budget(convs, spec, run) and total_error(uniform) < total_error(picked):
        picked = uniform
    changes = []
    for path, conv in convs.items():
        ranks = picked[path].ranks
        reason = reasons[path] or (None if ranks else "an error here costs more than what it saves")
        cost = ranks and (ranks, tucker_cost(conv, ranks, run.calls_of(path), merged=True))
        changes.append(_change(path, conv, dense[path], cost, reason, 0, merged=ranks is not None))
    return tuple(changes)


def _choices(path: str, conv: nn.Module, spec: Spec, run: Trace, evidence: RankEvidence) -> list[Choice]:
    counted = operator.attrgetter(spec.budget)
    calls, most = run.calls_of(path), counted(dense_cost(conv, run.calls_of(path)))
    found = []
    for input_rank in rank_steps(conv.in_channels, spec.rank_multiple):
        for output_rank in rank_steps(conv.out_channels, spec.rank_multiple):
            ranks = (output_rank, input_rank)
            cost = counted(tucker_cost(conv, ranks, calls, merged=True))
            if cost < most:
                found.append(Choice(ranks, cost, float(evidence.errors[path][input_rank][output_rank])))
    return found


def _uniform_choices(convs: dict[str, nn.Module], choices: dict[str, list[Choice]], spec: Spec) -> dict[str, Choice]:
    """What the same ratio in every layer would pick of the same choices."""
    relative = dataclasses.replace(spec, rank_mode="relative", calibration=None)
    picked = {}
    for path, conv in convs.items():
        ranks = (relative.rank(conv.out_channels), relative.rank(conv.in_channels))
        picked[path] = next((choice for choice in choices[path] if choice.ranks == ranks), choices[path][0])
    return picked


def _budget(convs: dict[str, nn.Module], spec: Spec, run: Trace) -> int:
    """MACs or parameters of the paper's ranks at this ratio, layers that would get dearer dense."""
    paper = Spec.paper(spec.rank_ratio, spec.minimum_rank)
    counted = operator.attrgetter(spec.budget)
    total = 0
    for path, conv in convs.items():
        calls = run.calls_of(path)
        dense = counted(dense_cost(conv, calls))
        ranks = (paper.rank(conv.out_channels), paper.rank(conv.in_channels))
        possible = calls and conv.groups == 1
        total += min(dense, counted(tucker_cost(conv, ranks, calls))) if possible else dense
    return total


def _change(
    path: str,
    conv: nn.Module,
    before: Cost,
    ranks_and_cost: tuple[tuple[int, int], Cost] | None,
    reason: str | None,
    sweeps: int,
    merged: bool = False,
) -> LayerChange:
    ranks, after = ranks_and_cost or (None, before)
    return LayerChange(
        path=path,
        kind=type(conv).__name__,
        shape=tuple(conv.weight.shape),
        ranks=ranks,
        before=before,
        after=after,
        skipped_because=reason,
        sweeps=sweeps,
        merged=merged,
    )


def _output_first(conv: nn.Module) -> torch.Size:
    """Shape of the weight with the output channels first."""
    return torch.Size((conv.out_channels, conv.in_channels, *conv.kernel_size))
