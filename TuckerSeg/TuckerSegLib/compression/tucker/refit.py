"""Anchored refit: a compressed network's layers, fitted once more behind the inputs that they really get.

A compressed layer reads what compressed layers before it have left, not what calibration saw. One pass through the
compressed network visits the layers in the order in which they run: ridge regression, anchored at the original
weight, finds the weight that makes the original's output of the inputs that arrive, and its factors replace the
layer's before it runs. No gradients. A layer keeps its factors where new ones do not help on held-back patches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ...errors import SpecError
from ...monitor import Monitor
from ...records.compression import LayerChange
from ..calibration import Calibration, LayerMoments
from ..layers import convolutions
from ..normalized_convolutions import NormalizedConvolutions
from ..sampling import neighborhoods, sample_positions, tells_taps_apart
from .details import TuckerDetails
from .layers import composed, fill, outer_layers
from .whitening import WhitenedLayer

POSITIONS = 8192  # per patch and layer: several times the unknowns over a few patches
ANCHOR = 3e-3  # weight of the original weight, relative to the mean of the inputs' moment
MOST_UNKNOWNS = 3456  # of a regression per output channel: 128 channels of a 3x3x3 kernel


@dataclass(frozen=True, eq=False)
class _Target:
    """Outputs of one layer of the original network at sampled positions.

    Attributes:
        positions: One tensor (N,) per patch.
        outputs: (N, O) or, of a transposed convolution, (N, O taps), per patch; without bias.
        centered: Whether a normalization takes constants away.
    """

    positions: list[Tensor]
    outputs: list[Tensor]
    centered: bool = False


@torch.no_grad()
def refit_network(
    original: nn.Module,
    compressed: nn.Module,
    changes: Iterable[LayerChange],
    calibration: Calibration,
    patches: Sequence[Tensor],
    held_back: int,
    seed: int = 0,
    monitor: Monitor | None = None,
) -> dict[str, tuple[float, float]]:
    """Fit the compressed convolutions of a network anew, in place. Linear layers stay as their calibration left them.

    Needs the memory of all patches in one pass without gradients.

    Args:
        original: The network whose outputs are to be matched; in evaluation mode, not changed.
        compressed: Made of it by ``tucker.apply`` with these changes.
        changes: Of ``tucker.plan``.
        calibration: Of the original: how much an error of each output matters.
        patches: (1, C, Z, Y, X) each, all of one shape.
        held_back: How many of the last patches are measured on and not fitted to.
        seed: Of the sampled positions.
        monitor: Hears the fraction of the layers done, and is asked after each whether to stop.

    Returns:
        Path of a layer to its relative squared output error on the held-back patches, before and after.

    Raises:
        SpecError: Fewer than one patch to fit to or to measure on.
        Cancelled: The monitor said so.
    """
    if not 0 < held_back < len(patches):
        raise SpecError(
            f"a refit fits to some patches and measures on others; found {len(patches)}, {held_back} of them held back"
        )
    monitor, convs = monitor or Monitor(), convolutions(original)
    planned = {change.path: TuckerDetails.from_change(change) for change in changes}
    compressed_layers = {path: each for path, each in planned.items() if each.ranks is not None and path in convs}
    targets = _targets({path: convs[path] for path in compressed_layers}, original, patches, seed)
    errors: dict[str, tuple[float, float]] = {}
    handles = []
    for path, details in compressed_layers.items():
        layers = compressed.get_submodule(path)

        def visit(module, inputs, path=path, details=details, layers=layers):
            if path in errors:
                return
            fitting = _Fitting(convs[path], layers, details, calibration.layers[path], targets.pop(path))
            errors[path] = fitting.improve(inputs[0], held_back)
            monitor.fraction(len(errors) / len(compressed_layers))

        handles.append(layers.register_forward_pre_hook(visit))
    try:
        compressed(torch.cat(list(patches)))
    finally:
        for handle in handles:
            handle.remove()
    return errors


class _Fitting:
    """The fit of one compressed layer to a target, behind inputs that have arrived."""

    def __init__(
        self, conv: nn.Module, layers: nn.Sequential, details: TuckerDetails, moments: LayerMoments, target: _Target
    ):
        self._conv, self._layers, self._details, self._target = conv, layers, details, target
        self._outputs_moment = moments.outputs
        self._weight = _output_first(conv.weight.detach(), conv)

    def improve(self, inputs: Tensor, held_back: int) -> tuple[float, float]:
        """Put better factors into the layers, if there are; inputs (patches, I, Z, Y, X)."""
        read = [
            neighborhoods(self._conv, patch[None], positions)
            for patch, positions in zip(inputs, self._target.positions, strict=True)
        ]
        expected = self._target.outputs
        if self._target.centered:
            read = [values - values.mean(dim=0) for values in read]
            expected = [values - values.mean(dim=0) for values in expected]
        former_values = [parameter.clone() for parameter in self._layers.parameters()]
        before = self._error(read[-held_back:], expected[-held_back:])
        factors = self._factors(torch.cat(read[:-held_back]).double(), torch.cat(expected[:-held_back]).double())
        if factors is None:
            return before, before
        fill(self._layers, self._conv, self._details, *(factor.to(self._conv.weight.dtype) for factor in factors))
        after = self._error(read[-held_back:], expected[-held_back:])
        if after < before:
            return before, after
        for parameter, value in zip(self._layers.parameters(), former_values, strict=True):
            parameter.copy_(value)
        return before, before

    def _factors(self, read: Tensor, expected: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """Core (r, s, kz, ky, kx), output factor (O, r), input factor (I, s); None with too many unknowns."""
        ranks, kernel = self._details.ranks, self._conv.kernel_size
        inputs = self._conv.in_channels
        if self._conv.transposed or tells_taps_apart(self._conv):
            moment, solution = _ridge(read, expected, self._as_regression(self._weight))
            weight = self._from_regression(solution)
            layer = WhitenedLayer(weight, LayerMoments(moment, self._outputs_moment, None))
            factors = layer.truncated(ranks)
            return factors.core.reshape(*ranks, *kernel), factors.output_factor, factors.input_factor
        # Too many taps to tell apart: behind the input factor as it is, there are fewer
        input_factor = self._input_factor()
        s = input_factor.shape[1]
        if s * math.prod(kernel) > MOST_UNKNOWNS:
            return None
        behind = torch.einsum("nik,is->nsk", read.reshape(len(read), inputs, -1), input_factor).flatten(1)
        anchor = torch.einsum("oi...,is->os...", self._weight.double(), input_factor).flatten(1)
        moment, solution = _ridge(behind, expected, anchor)
        weight = solution.reshape(len(solution), s, *kernel)
        layer = WhitenedLayer(weight, LayerMoments(moment, self._outputs_moment, None))
        factors = layer.truncated((ranks[0], s))
        return factors.core.reshape(*ranks, *kernel), factors.output_factor, input_factor @ factors.input_factor

    def _input_factor(self) -> Tensor:
        """The input factor (I, s) of the layers as they are."""
        if not outer_layers(self._conv, self._details)[0]:
            return torch.eye(self._conv.in_channels, dtype=torch.float64)
        return self._layers[0].weight.flatten(1).T.double()

    def _error(self, read: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
        """Squared error of the outputs in the calibrated norm, relative to theirs."""
        weight = self._as_regression(composed(self._layers, self._conv, self._details)).float()
        error = total = 0.0
        for values, outputs in zip(read, expected, strict=True):
            error += self._energy(values @ weight.T - outputs)
            total += self._energy(outputs)
        return error / total if total else 0.0

    def _energy(self, outputs: Tensor) -> float:
        """Squared norm of outputs (N, O) or (N, O taps) in the calibrated norm."""
        outputs = outputs.double().reshape(len(outputs), self._conv.out_channels, -1).transpose(1, 2).flatten(0, 1)
        return float(((outputs.T @ outputs) * self._outputs_moment).sum())

    def _as_regression(self, weight: Tensor) -> Tensor:
        """A weight as rows of outputs: (O, I taps), or (O taps, I) where taps make outputs of their own."""
        weight = weight.double()
        return weight.flatten(2).transpose(1, 2).flatten(0, 1) if self._conv.transposed else weight.flatten(1)

    def _from_regression(self, rows: Tensor) -> Tensor:
        """The weight (O, I, kz, ky, kx) of rows that :meth:`_as_regression` gives."""
        conv = self._conv
        if conv.transposed:
            rows = rows.reshape(conv.out_channels, -1, conv.in_channels).transpose(1, 2)
        return rows.reshape(conv.out_channels, conv.in_channels, *conv.kernel_size)


def _ridge(read: Tensor, expected: Tensor, anchor: Tensor) -> tuple[Tensor, Tensor]:
    """Moment of what is read (U, U), and the weight (O, U) that explains the outputs best and stays near the anchor."""
    moment = read.T @ read / len(read)
    level = ANCHOR * float(moment.diagonal().mean())
    cross = expected.T @ read / len(read) + level * anchor
    lower = torch.linalg.cholesky(moment + level * torch.eye(len(moment), dtype=moment.dtype))
    return moment, torch.cholesky_solve(cross.T, lower).T


def _output_first(weight: Tensor, conv: nn.Module) -> Tensor:
    """A convolution's weight with the output channels first."""
    return weight.transpose(0, 1) if conv.transposed else weight


def _targets(
    convs: dict[str, nn.Module], network: nn.Module, patches: Sequence[Tensor], seed: int
) -> dict[str, _Target]:
    """Path to the outputs that one pass per patch through the original gives at sampled positions."""
    generator = torch.Generator().manual_seed(seed)
    targets = {path: _Target([], []) for path in convs}

    def recorder(path: str) -> Callable:
        def record(conv: nn.Module, inputs: tuple, output: Tensor) -> None:
            positions = sample_positions(conv, inputs[0], POSITIONS, generator)
            targets[path].positions.append(positions)
            targets[path].outputs.append(_outputs_at(conv, output, positions))

        return record

    normalized = NormalizedConvolutions(network, convs)
    handles = [conv.register_forward_hook(recorder(path)) for path, conv in convs.items()]
    try:
        for patch in patches:
            network(patch)
    finally:
        normalized.close()
        for handle in handles:
            handle.remove()
    return {path: replace(target, centered=path in normalized.paths) for path, target in targets.items()}


def _outputs_at(conv: nn.Module, output: Tensor, positions: Tensor) -> Tensor:
    """Outputs at sampled positions, (N, O), or (N, O taps) of a transposed convolution; without bias."""
    values = output[0] if conv.bias is None else output[0] - conv.bias[:, None, None, None]
    if conv.transposed:
        channels, *sizes = values.shape
        kz, ky, kx = conv.kernel_size
        values = values.reshape(channels, sizes[0] // kz, kz, sizes[1] // ky, ky, sizes[2] // kx, kx)
        values = values.permute(0, 2, 4, 6, 1, 3, 5).reshape(channels * kz * ky * kx, -1)
    return values.flatten(1)[:, positions].T
