"""Measures how well a model's convolutions are reconstructed at lower ranks, for ``tuckerseg reconstruct``.

Errors of the weights at every rank pair of a grid, layer by layer, as the Tucker paper's reconstruction script gives
them (arXiv:2404.09683). With a calibration the errors are given in its norm too, where they are, to first order,
errors of the logits: those of the weights-only factors, and those of the factors that are made for it.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..cache import Cache
from ..compression.layers import convolutions
from ..compression.trace import Call, trace
from ..compression.tucker import Spec
from ..compression.tucker.basis import Basis
from ..compression.tucker.calibrated_basis import CalibratedBasis
from ..compression.tucker.costs import dense_cost, tucker_cost
from ..compression.tucker.rank_allocation import rank_steps
from ..compression.tucker.truncation import calibrated_truncation_errors, truncation_errors
from ..errors import SpecError
from ..models.calibration import ModelCalibration
from ..models.material import prepare_fold
from ..models.model import SegmentationModel, require_original
from ..monitor import Monitor
from ..records.compression import Cost

METHOD = "tucker"  # whose errors these are
Ranks = tuple[tuple[int, ...], tuple[int, ...]]  # of the outputs, of the inputs
SquaredErrors = tuple[Tensor, float]  # (output ranks, input ranks), and the squared norm of the weight


@dataclass(frozen=True)
class RankGrid:
    """The layers and rank pairs that are measured.

    Attributes:
        multiple: Step of the ranks; the last rank of every mode is the number of channels.
        layers: Patterns of layer paths as in a shell, such as ``decoder.*``; empty: all layers.

    Raises:
        SpecError: A step below 1.
    """

    multiple: int = 8
    layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.multiple < 1:
            raise SpecError(f"The step of the ranks is a whole number of at least 1; found {self.multiple}.")


@dataclass(frozen=True)
class RankPair:
    """Errors and cost of one layer at one pair of ranks.

    Attributes:
        output_rank, input_rank: Ranks of the output and of the input channels.
        absolute_error: Frobenius norm of the difference between the truncated weights and the weights.
        relative_error: The same over the Frobenius norm of the weights.
        energy: Share of the squared norm that is kept.
        whitened_error_weights: Relative error of the same truncation in the norm of the calibration; None without one.
        whitened_error_calibrated: Relative error of the calibrated factors in that norm, before the sweeps that lower
            it a little more; None without a calibration.
        macs, parameters: Cost of one fold in one patch. A factor at full rank is merged into the core.
        cheaper: Whether the MACs are fewer than the dense layer's.
    """

    output_rank: int
    input_rank: int
    absolute_error: float
    relative_error: float
    energy: float
    whitened_error_weights: float | None
    whitened_error_calibrated: float | None
    macs: int
    parameters: int
    cheaper: bool


@dataclass(frozen=True)
class LayerReconstruction:
    """Errors of one convolution at every rank pair of a grid.

    Attributes:
        path: Path of the module in the network.
        shape: Shape of the weight, output channels first.
        dense: Cost of the layer as it is.
        output_ranks, input_ranks: The grid; the last of each is the number of channels.
        pairs: All pairs; the input rank varies fastest.
    """

    path: str
    shape: tuple[int, ...]
    dense: Cost
    output_ranks: tuple[int, ...]
    input_ranks: tuple[int, ...]
    pairs: tuple[RankPair, ...]

    def grid(self, name: str) -> np.ndarray:
        """One attribute of all pairs as an array, (output ranks, input ranks)."""
        values = np.array([getattr(pair, name) for pair in self.pairs])
        return values.reshape(len(self.output_ranks), len(self.input_ranks))

    def cheapest(self, energy: float) -> RankPair | None:
        """The pair of fewest MACs that keeps this share of the energy; None where only the dense layer keeps it."""
        enough = [pair for pair in self.pairs if pair.cheaper and pair.energy >= energy]
        return min(enough, key=lambda pair: (pair.macs, pair.parameters), default=None)


def layers_of(model: SegmentationModel, patterns: Sequence[str] = ()) -> dict[str, tuple[nn.Module, list[Call]]]:
    """The convolutions that compression can change, on the meta device, and their calls for one patch.

    Args:
        model: The original.
        patterns: As ``RankGrid.layers``.

    Returns:
        Path to convolution and calls, in the network's order.

    Raises:
        SpecError: The model is compressed already, or a pattern fits no layer.
    """
    require_original(model)
    structure, plans = model.structure(), model.plans
    run = trace(structure, plans.patch_shape, plans.input_channels)
    layers = {path: (conv, run.calls_of(path)) for path, conv in convolutions(structure).items() if conv.groups == 1}
    layers = {path: (conv, calls) for path, (conv, calls) in layers.items() if calls}
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(path, pattern) for path in layers):
            listed = "\n  ".join(layers)
            raise SpecError(f"No layer of {model.name} that can be compressed fits '{pattern}'. There are:\n  {listed}")
    return {
        path: layer
        for path, layer in layers.items()
        if not patterns or any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)
    }


def measure_reconstruction(
    model: SegmentationModel,
    grid: RankGrid,
    cache: Cache,
    calibration: ModelCalibration | None = None,
    monitor: Monitor | None = None,
) -> Iterator[LayerReconstruction]:
    """Measure the errors of every convolution that compression can change.

    Squared errors and squared norms are summed over folds, which share their ranks.

    Args:
        model: The original.
        grid: Layers and ranks to measure.
        cache: Holds the decomposition for later runs.
        calibration: With it, whitened errors are measured too.
        monitor: Asked between layers whether to stop.

    Yields:
        Each layer when it is measured, in the network's order.

    Raises:
        SpecError: The model is compressed already, or a pattern fits no layer.
    """
    monitor = monitor or Monitor()
    layers = layers_of(model, grid.layers)
    bases = []
    for fold in model.folds:
        monitor.check()
        plain = prepare_fold(model, fold, Spec(), METHOD, cache, None, monitor).basis()
        calibrated = CalibratedBasis.from_network(model.network(fold), calibration.folds[fold]) if calibration else None
        bases.append((plain, calibrated))
    for path, (conv, calls) in layers.items():
        monitor.check()
        ranks = tuple(tuple(rank_steps(size, grid.multiple)) for size in (conv.out_channels, conv.in_channels))
        errors = _summed([truncation_errors(basis.layers[path], *ranks) for basis, _ in bases])
        whitened = None
        if calibration:
            folds = [_whitened_errors(path, *each, ranks) for each in bases]
            whitened = [_relative(*_summed(errors_of_folds)) for errors_of_folds in zip(*folds, strict=True)]
        yield _layer(path, conv, calls, errors, whitened, ranks)


def _whitened_errors(
    path: str, basis: Basis, calibrated: CalibratedBasis, ranks: Ranks
) -> tuple[SquaredErrors, SquaredErrors]:
    """Squared whitened errors of the weights-only factors, and of the calibrated ones."""
    plain, energy = calibrated_truncation_errors(basis.layers[path], calibrated.moments(path), *ranks)
    solved = calibrated.layer(path).errors(ranks[1])
    solved = torch.stack([row[list(ranks[0])] for row in solved.values()], dim=1)
    # Compression starts from both input factors and keeps what is better, so it is never worse than the weights'.
    best = torch.minimum(plain, solved)
    unit = calibrated.calibration.logit_energy  # that all folds share
    return (plain / unit, energy / unit), (best / unit, energy / unit)


def _summed(folds: Sequence[SquaredErrors]) -> SquaredErrors:
    return sum(errors for errors, _ in folds), sum(energy for _, energy in folds)


def _relative(errors: Tensor, energy: float) -> np.ndarray:
    """Relative errors from squared ones and the squared norm; 0 for a weight that is zero."""
    return (errors / energy if energy > 0 else torch.zeros_like(errors)).sqrt().numpy()


def _layer(
    path: str,
    conv: nn.Module,
    calls: Sequence[Call],
    errors: SquaredErrors,
    whitened: Sequence[np.ndarray] | None,
    ranks: Ranks,
) -> LayerReconstruction:
    """The record of a layer from its squared errors and, with a calibration, its two relative whitened ones."""
    dense, pairs = dense_cost(conv, calls), []
    absolute, relative = errors[0].sqrt().numpy(), _relative(*errors)
    for row, column in np.ndindex(absolute.shape):
        pair = (ranks[0][row], ranks[1][column])
        weights, calibrated = (float(each[row, column]) for each in whitened) if whitened else (None, None)
        cost = tucker_cost(conv, pair, calls, merged=True)
        pairs.append(
            RankPair(
                output_rank=pair[0],
                input_rank=pair[1],
                absolute_error=float(absolute[row, column]),
                relative_error=float(relative[row, column]),
                energy=1 - float(relative[row, column]) ** 2,
                whitened_error_weights=weights,
                whitened_error_calibrated=calibrated,
                macs=cost.macs,
                parameters=cost.parameters,
                cheaper=cost.macs < dense.macs,
            )
        )
    shape = (conv.out_channels, conv.in_channels, *conv.kernel_size)
    return LayerReconstruction(path, shape, dense, *ranks, tuple(pairs))
