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
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn.utils import skip_init

from ..errors import SpecError
from ..records import Cost, LayerChange
from .allocation import Choice, allocate, rank_steps, total_cost, total_error
from .basis import Basis, RankEvidence, decompose
from .calibrated_basis import CalibratedBasis
from .layers import convolutions, replace_modules
from .rank_policies import rank_of_energy, rank_of_evbmf
from .trace import Trace, trace

__all__ = ["Basis", "CalibratedBasis", "Spec", "apply", "decompose", "plan"]

RANK_MODES = ("relative", "fixed", "energy", "evbmf", "auto")
BUDGETS = ("macs", "parameters")


@dataclass(frozen=True)
class Spec:
    """How far to compress.

    Attributes:
        rank_ratio: Rank / channels, above 0 up to 1. With the default policy 1 keeps the network as it is.
        rank_mode: ``relative`` takes ranks from rank_ratio, ``fixed`` gives every layer minimum_rank. ``auto`` has
            the budget of ``relative`` (by the paper's counts, dearer layers dense) and spreads it so that the summed
            error is smallest; ranks are then multiples of rank_multiple and not held above minimum_rank.
            ``energy`` takes the smallest ranks that keep the share rank_ratio of the weight's squared norm along
            each mode; ``evbmf`` what variational Bayes finds in the weight, whatever rank_ratio is.
        budget: What ``auto`` spares: ``macs`` (faster) or ``parameters`` (smaller).
        calibration: SHA-256 of the calibration whose norm ``auto`` minimizes; None takes the weights alone.
        refit: Whether the layers were fitted once more to the original's outputs behind compressed inputs.
        minimum_rank: No rank falls below it, except where a layer has fewer channels.
        rank_multiple: Ranks are rounded to the nearest multiple, at least one; processors like 8. 1 = not rounded.
        keep_stem_and_head: Leave the first convolution and the 1x1x1 output layer dense.
        keep_pointwise: Leave other 1x1x1 convolutions (projections of residual blocks) dense.
        keep_if_not_cheaper: Leave a layer dense whose compressed form takes no fewer MACs.
        sweeps: Sweeps of higher-order orthogonal iteration after truncation.
    """

    VERSION: ClassVar[int] = 1

    rank_ratio: float = 1 / 3
    rank_mode: str = "relative"
    budget: str = "macs"
    calibration: str | None = None
    refit: bool = False
    minimum_rank: int = 8
    rank_multiple: int = 8
    keep_stem_and_head: bool = True
    keep_pointwise: bool = True
    keep_if_not_cheaper: bool = True
    sweeps: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.rank_ratio, (int, float)) or not 0 < self.rank_ratio <= 1:
            raise SpecError(f"rank_ratio must be above 0 and at most 1, not {self.rank_ratio!r}")
        if self.rank_mode not in RANK_MODES:
            raise SpecError(f"rank_mode must be one of {RANK_MODES}, not {self.rank_mode!r}")
        if self.budget not in BUDGETS:
            raise SpecError(f"budget must be one of {BUDGETS}, not {self.budget!r}")
        if self.rank_mode != "auto" and (self.calibration or self.refit):
            raise SpecError(f"a calibration serves the rank mode 'auto' alone, not {self.rank_mode!r}")
        if self.refit and not self.calibration:
            raise SpecError("a refit needs a calibration")
        for name, least in (("minimum_rank", 1), ("rank_multiple", 1), ("sweeps", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise SpecError(f"{name} must be a whole number of at least {least}, not {value!r}")

    @classmethod
    def paper(cls, rank_ratio: float, minimum_rank: int = 8, rank_mode: str = "relative") -> Spec:
        """The Tucker paper's policy (arXiv:2404.09683): every convolution replaced, ranks not rounded."""
        return cls(
            rank_ratio=rank_ratio,
            rank_mode=rank_mode,
            minimum_rank=minimum_rank,
            rank_multiple=1,
            keep_stem_and_head=False,
            keep_pointwise=False,
            keep_if_not_cheaper=False,
        )

    @property
    def looks_at_weights(self) -> bool:
        """Whether the ranks are decided by what decompositions say."""
        return self.rank_mode in ("energy", "evbmf") or (self.rank_mode == "auto" and self.rank_ratio < 1)

    def rank(self, channels: int) -> int:
        """The rank of a mode with so many channels."""
        # The small number keeps 100 * 0.55 = 55.00000000000001 from rising to 56.
        wanted = self.minimum_rank if self.rank_mode == "fixed" else math.ceil(channels * self.rank_ratio - 1e-9)
        wanted = max(self.minimum_rank, wanted)
        return self.rounded(wanted, channels)

    def rounded(self, wanted: int, channels: int) -> int:
        """The nearest multiple of rank_multiple, at least one; all channels where that many are wanted."""
        if wanted >= channels:
            return channels
        nearest = math.floor(wanted / self.rank_multiple + 0.5) * self.rank_multiple
        return min(channels, max(self.rank_multiple, nearest))


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
        replacements[conv] = _structure(conv, change)
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
    before, after = _dense_cost(conv, run.calls_of(path)), _tucker_cost(conv, ranks, run.calls_of(path))
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
    dense = {path: _dense_cost(conv, run.calls_of(path)) for path, conv in convs.items()}
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
        cost = ranks and (ranks, _tucker_cost(conv, ranks, run.calls_of(path), merged=True))
        changes.append(_change(path, conv, dense[path], cost, reason, 0, merged=ranks is not None))
    return tuple(changes)


def _choices(path: str, conv: nn.Module, spec: Spec, run: Trace, evidence: RankEvidence) -> list[Choice]:
    counted = operator.attrgetter(spec.budget)
    calls, most = run.calls_of(path), counted(_dense_cost(conv, run.calls_of(path)))
    found = []
    for input_rank in rank_steps(conv.in_channels, spec.rank_multiple):
        for output_rank in rank_steps(conv.out_channels, spec.rank_multiple):
            ranks = (output_rank, input_rank)
            cost = counted(_tucker_cost(conv, ranks, calls, merged=True))
            if cost < most:
                found.append(Choice(ranks, cost, float(evidence.errors[path][input_rank][output_rank])))
    return found


def _uniform_choices(convs: dict[str, nn.Module], choices: dict[str, list[Choice]], spec: Spec) -> dict[str, Choice]:
    """What the same ratio in every layer would pick of the same choices."""
    relative = dataclasses.replace(spec, rank_mode="relative", calibration=None, refit=False)
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
        dense = counted(_dense_cost(conv, calls))
        ranks = (paper.rank(conv.out_channels), paper.rank(conv.in_channels))
        possible = calls and conv.groups == 1
        total += min(dense, counted(_tucker_cost(conv, ranks, calls))) if possible else dense
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


def _voxels(calls: Sequence) -> tuple[int, int]:
    """Input and output voxels over all calls of a layer."""
    return (
        sum(math.prod(call.input_shape[2:]) for call in calls),
        sum(math.prod(call.output_shape[2:]) for call in calls),
    )


def _dense_cost(conv: nn.Module, calls: Sequence) -> Cost:
    if not calls:
        return Cost(0, 0)
    voxels_in, voxels_out = _voxels(calls)
    parameters = sum(parameter.numel() for parameter in conv.parameters())
    return Cost(parameters, conv.weight.numel() * (voxels_in if conv.transposed else voxels_out))


def _tucker_cost(conv: nn.Module, ranks: tuple[int, int], calls: Sequence, merged: bool = False) -> Cost:
    """Cost of the three layers; with ``merged`` a factor at full rank is part of the core and costs nothing."""
    r, s = ranks
    voxels_in, voxels_out = _voxels(calls)
    squeeze = 0 if merged and s == conv.in_channels else conv.in_channels * s
    expand = 0 if merged and r == conv.out_channels else r * conv.out_channels
    core = s * r * math.prod(conv.kernel_size)
    bias = 0 if conv.bias is None else conv.out_channels
    core_voxels = voxels_in if conv.transposed else voxels_out
    return Cost(squeeze + core + expand + bias, squeeze * voxels_in + core * core_voxels + expand * voxels_out)


def _output_first(conv: nn.Module) -> torch.Size:
    """Shape of the weight with the output channels first."""
    return torch.Size((conv.out_channels, conv.in_channels, *conv.kernel_size))


def _structure(conv: nn.Module, change: LayerChange) -> nn.Sequential:
    """The layers with uninitialized weights; skip_init also leaves the random generator alone."""
    r, s = change.ranks
    squeezes, expands = _outer_layers(conv, change)
    like = {"device": conv.weight.device, "dtype": conv.weight.dtype}
    shape = {"kernel_size": conv.kernel_size, "stride": conv.stride, "dilation": conv.dilation}
    shape |= {"padding": conv.padding, "padding_mode": conv.padding_mode}
    if conv.transposed:
        shape |= {"output_padding": conv.output_padding}
    layers = [skip_init(nn.Conv3d, conv.in_channels, s, 1, bias=False, **like)] if squeezes else []
    layers.append(skip_init(type(conv), s, r, bias=False, **shape, **like))
    if expands:
        layers.append(skip_init(nn.Conv3d, r, conv.out_channels, 1, bias=False, **like))
    layers[-1].bias = conv.bias
    return nn.Sequential(*layers).train(conv.training).requires_grad_(conv.weight.requires_grad)


def _outer_layers(conv: nn.Module, change: LayerChange) -> tuple[bool, bool]:
    """Whether there is a layer before the core, and one behind it."""
    r, s = change.ranks
    return not (change.merged and s == conv.in_channels), not (change.merged and r == conv.out_channels)


@torch.no_grad()
def fill(
    layers: nn.Sequential,
    conv: nn.Module,
    change: LayerChange,
    core: torch.Tensor,
    output_factor: torch.Tensor,
    input_factor: torch.Tensor,
) -> None:
    """Write factors into the layers that take a convolution's place.

    Args:
        core: (r, s, kz, ky, kx).
        output_factor: (O, r).
        input_factor: (I, s).
    """
    squeezes, expands = _outer_layers(conv, change)
    if squeezes:
        layers[0].weight.copy_(input_factor.T[..., None, None, None])
    else:
        core = torch.einsum("rs...,is->ri...", core, input_factor)
    if expands:
        layers[-1].weight.copy_(output_factor[..., None, None, None])
    else:
        core = torch.einsum("or,rs...->os...", output_factor, core)
    middle = layers[1 if squeezes else 0]
    middle.weight.copy_(core.transpose(0, 1) if middle.transposed else core)
