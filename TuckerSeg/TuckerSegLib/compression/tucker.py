"""Tucker-2 compression: a k^3 convolution becomes 1x1x1, a small k^3 core, 1x1x1.

Kim et al., ICLR 2016 (arXiv:1511.06530); rank policy and counts of the Tucker paper on nnU-Net (arXiv:2404.09683)
as a named constructor. ``plan`` decides and touches nothing, ``decompose`` (in basis.py) does the slow part once,
``apply`` slices it to the planned ranks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn.utils import skip_init

from ..errors import SpecError
from ..records import Cost, LayerChange
from .basis import Basis, LayerBasis, decompose
from .layers import convolutions, replace_modules
from .trace import Trace, trace

__all__ = ["Basis", "Spec", "apply", "decompose", "plan"]

RANK_MODES = ("relative", "fixed")


@dataclass(frozen=True)
class Spec:
    """How far to compress.

    Attributes:
        rank_ratio: Rank / channels, above 0 up to 1. With the default policy 1 keeps the network as it is.
        rank_mode: ``relative`` takes ranks from rank_ratio, ``fixed`` gives every layer minimum_rank.
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

    def rank(self, channels: int) -> int:
        """The rank of a mode with so many channels."""
        # The small number keeps 100 * 0.55 = 55.00000000000001 from rising to 56.
        wanted = math.ceil(channels * self.rank_ratio - 1e-9) if self.rank_mode == "relative" else self.minimum_rank
        wanted = max(self.minimum_rank, wanted)
        if wanted >= channels:
            return channels
        nearest = math.floor(wanted / self.rank_multiple + 0.5) * self.rank_multiple
        return min(channels, max(self.rank_multiple, nearest))


def plan(
    network: nn.Module, spec: Spec, patch_shape: Sequence[int], input_channels: int | None = None
) -> tuple[LayerChange, ...]:
    """Decide the ranks of every convolution. Touches nothing; works on the meta device too.

    Args:
        network: From (B, C, Z, Y, X) to logits.
        spec: How far to compress.
        patch_shape: (Z, Y, X) in voxels, for the costs.
        input_channels: C; None takes the input channels of the network's first convolution.

    Returns:
        One entry per 3D convolution, in the network's order; those that stay dense say why.

    Raises:
        SpecError: The network cannot take such a patch.
    """
    run = trace(network, patch_shape, input_channels)
    return tuple(_plan_layer(path, conv, spec, run) for path, conv in convolutions(network).items())


def apply(network: nn.Module, changes: Iterable[LayerChange], basis: Basis | None = None) -> None:
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
        replacements[conv] = _structure(conv, change.ranks)
        if basis is not None:
            layer = basis.layers.get(change.path)
            if layer is None or layer.core.shape != _output_first(conv):
                raise SpecError(f"{change.path}: the decomposition belongs to another network")
            _fill(replacements[conv], layer, change)
    replace_modules(network, replacements)


def _plan_layer(path: str, conv: nn.Module, spec: Spec, run: Trace) -> LayerChange:
    outputs, inputs = conv.out_channels, conv.in_channels
    ranks = (spec.rank(outputs), spec.rank(inputs))
    calls = run.calls_of(path)
    before, after = _dense_cost(conv, calls), _tucker_cost(conv, ranks, calls)
    reason = None
    if not calls:
        reason = "takes no part in the forward pass"
    elif conv.groups != 1:
        reason = f"grouped convolution (groups = {conv.groups})"
    elif spec.keep_stem_and_head and path == run.stem:
        reason = "first layer"
    elif spec.keep_stem_and_head and path in run.heads:
        reason = "output layer"
    elif spec.keep_pointwise and math.prod(conv.kernel_size) == 1:
        reason = "1x1x1 convolution"
    elif spec.keep_if_not_cheaper and after.macs >= before.macs:
        reason = f"not cheaper: {after.macs} MACs at ranks {ranks}, {before.macs} dense"
    kept = reason is not None
    return LayerChange(
        path=path,
        kind=type(conv).__name__,
        shape=tuple(conv.weight.shape),
        ranks=None if kept else ranks,
        before=before,
        after=before if kept else after,
        skipped_because=reason,
        sweeps=0 if kept else spec.sweeps,
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


def _tucker_cost(conv: nn.Module, ranks: tuple[int, int], calls: Sequence) -> Cost:
    r, s = ranks
    voxels_in, voxels_out = _voxels(calls)
    squeeze, expand = conv.in_channels * s, r * conv.out_channels
    core = s * r * math.prod(conv.kernel_size)
    bias = 0 if conv.bias is None else conv.out_channels
    core_voxels = voxels_in if conv.transposed else voxels_out
    return Cost(squeeze + core + expand + bias, squeeze * voxels_in + core * core_voxels + expand * voxels_out)


def _output_first(conv: nn.Module) -> torch.Size:
    """Shape of the weight with the output channels first."""
    return torch.Size((conv.out_channels, conv.in_channels, *conv.kernel_size))


def _structure(conv: nn.Module, ranks: tuple[int, int]) -> nn.Sequential:
    """The three layers with uninitialized weights; skip_init also leaves the random generator alone."""
    r, s = ranks
    like = {"device": conv.weight.device, "dtype": conv.weight.dtype}
    shape = {"kernel_size": conv.kernel_size, "stride": conv.stride, "dilation": conv.dilation}
    shape |= {"padding": conv.padding, "padding_mode": conv.padding_mode}
    if conv.transposed:
        shape |= {"output_padding": conv.output_padding}
    squeeze = skip_init(nn.Conv3d, conv.in_channels, s, 1, bias=False, **like)
    core = skip_init(type(conv), s, r, bias=False, **shape, **like)
    expand = skip_init(nn.Conv3d, r, conv.out_channels, 1, bias=conv.bias is not None, **like)
    expand.bias = conv.bias
    return nn.Sequential(squeeze, core, expand).train(conv.training).requires_grad_(conv.weight.requires_grad)


@torch.no_grad()
def _fill(layers: nn.Sequential, basis: LayerBasis, change: LayerChange) -> None:
    core, output_factor, input_factor = basis.truncated(change.ranks, change.sweeps)
    squeeze, middle, expand = layers
    squeeze.weight.copy_(input_factor.T[..., None, None, None])
    middle.weight.copy_(core.transpose(0, 1) if middle.transposed else core)
    expand.weight.copy_(output_factor[..., None, None, None])
