"""The moments that pruning goes by: of what convolutions read, and of what their errors do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...errors import SpecError
from ..calibration import Calibration, LayerMoments
from ..channel_graph import ChannelGraph, ChannelGroup

RIDGE = 1e-6  # of the mean diagonal: directions that calibration never saw are not free


@dataclass(frozen=True, eq=False)
class ReaderMoments:
    """Second moments of all convolutions that read channels which may be left out.

    Attributes:
        layers: Path of the convolution to its moments, see ``calibration.LayerMoments``.
        unit: What an error is divided by: the energy of the logits.
    """

    layers: Mapping[str, LayerMoments]
    unit: float

    def taps(self, network: nn.Module, path: str) -> int:
        """Taps that a layer's input moment tells apart; 1 where it tells none."""
        return len(self._moments_of(network, path).inputs) // network.get_submodule(path).in_channels

    def among(self, network: nn.Module, path: str, channels: Tensor) -> Tensor:
        """The input moment of a layer among some of its input channels, (N taps, N taps), with a ridge."""
        rows = rows_of(channels, self.taps(network, path))
        inputs = self._moments_of(network, path).inputs.double()
        return inputs[rows][:, rows] + _ridge(inputs) * torch.eye(len(rows), dtype=torch.float64)

    def between(self, network: nn.Module, path: str, first: Tensor, second: Tensor) -> Tensor:
        """The input moment of a layer between two disjoint sets of its input channels."""
        taps = self.taps(network, path)
        return self._moments_of(network, path).inputs.double()[rows_of(first, taps)][:, rows_of(second, taps)]

    def scaled_weight(self, network: nn.Module, path: str) -> Tensor:
        """A layer's weight (O, I, taps), so scaled that squares of it, in the norm of its inputs, are errors."""
        conv = network.get_submodule(path)
        values, vectors = torch.linalg.eigh(self._moments_of(network, path).outputs.double() / self.unit)
        weight = output_first(conv)
        if conv.transposed:  # a tap takes part in one of as many output voxels as a stride makes
            values = values / math.prod(conv.stride)
        return torch.einsum("pa,aik->pik", (vectors * values.clamp(min=0).sqrt()).T, weight)

    def _moments_of(self, network: nn.Module, path: str) -> LayerMoments:
        moments, conv = self.layers.get(path), network.get_submodule(path)
        if moments is None or len(moments.outputs) != conv.out_channels or len(moments.inputs) % conv.in_channels:
            raise SpecError(f"{path}: the calibration belongs to another network")
        return moments


def calibrated_moments(calibration: Calibration) -> ReaderMoments:
    """The moments that a calibration has."""
    return ReaderMoments(calibration.layers, calibration.logit_energy)


def moments_of_weights(network: nn.Module, graph: ChannelGraph) -> ReaderMoments:
    """Moments for want of a calibration: what a network's weights alone say of its channels.

    Channels are taken to be as large as their normalization makes them, and to resemble each other as the filters do
    that make them. Errors are relative to the squared norm of each reader.
    """
    paths = {reader.path for group in graph.groups.values() for reader in group.readers}
    inputs = {path: torch.eye(network.get_submodule(path).in_channels, dtype=torch.float64) for path in paths}
    for group in graph.groups.values():
        moment = _moment_of_filters(network, group)
        for reader in group.readers:
            own = slice(reader.offset, reader.offset + group.channels)
            inputs[reader.path][own, own] = moment
    layers = {}
    for path, moment in inputs.items():
        weight = output_first(network.get_submodule(path))
        energy = float(torch.einsum("oik,ij,ojk->", weight, moment, weight))
        outputs = torch.eye(len(weight), dtype=torch.float64) / max(energy, 1e-300)
        layers[path] = LayerMoments(moment, outputs, torch.ones(len(weight), dtype=torch.float64))
    return ReaderMoments(layers, 1.0)


def positive_root(moment: Tensor) -> Tensor:
    """Lower Cholesky factor of a moment; where single precision has left it none, of it with a larger ridge."""
    ridge = _ridge(moment) * torch.eye(len(moment), dtype=moment.dtype)
    lower, failed = torch.linalg.cholesky_ex(moment)
    while failed and ridge[0, 0].isfinite():
        ridge = 10 * ridge
        lower, failed = torch.linalg.cholesky_ex(moment + ridge)
    return lower


def output_first(conv: nn.Module) -> Tensor:
    """A convolution's weight (O, I, taps), float64, on the CPU."""
    weight = conv.weight.detach().to("cpu", torch.float64).flatten(2)
    return weight.transpose(0, 1) if conv.transposed else weight


def rows_of(channels: Tensor, taps: int) -> Tensor:
    """Rows of a moment that belong to some channels, taps varying fastest."""
    return (channels[:, None] * taps + torch.arange(taps)).flatten()


def _moment_of_filters(network: nn.Module, group: ChannelGroup) -> Tensor:
    """Second moment (C, C) of a group's channels as far as their filters and normalizations tell it, of mean 1."""
    filters = output_first(network.get_submodule(group.producer)).flatten(1)
    sizes = filters.norm(dim=1).clamp(min=1e-30)
    alike = (filters / sizes[:, None]) @ (filters / sizes[:, None]).T
    for norm in group.norms:
        module = network.get_submodule(norm.path)
        if module.affine:
            own = slice(norm.offset, norm.offset + group.channels)
            gain, shift = (each.detach().to("cpu", torch.float64)[own] for each in (module.weight, module.bias))
            sizes = (gain.square() + shift.square()).sqrt().clamp(min=1e-30)
    moment = sizes[:, None] * alike * sizes
    return moment / moment.diagonal().mean()


def _ridge(moment: Tensor) -> float:
    level = float(moment.diagonal().mean())
    return RIDGE * level if level > 0 else 1.0
