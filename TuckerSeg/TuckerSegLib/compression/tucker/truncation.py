"""Errors of a weights-only decomposition at many rank pairs at once; nothing is rebuilt for them.

In the coordinates of the orthonormal factors a truncated weight is a leading block of the core, and zero elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..calibration import LayerMoments
from .basis import LayerBasis
from .whitening import INPUT_RIDGE, OUTPUT_RIDGE


def truncation_errors(
    layer: LayerBasis, output_ranks: Sequence[int], input_ranks: Sequence[int]
) -> tuple[Tensor, float]:
    """Squared Frobenius errors of a layer's weight at all pairs of ranks: the energy of the core that is cut away.

    Args:
        layer: The decomposition.
        output_ranks, input_ranks: Each 1 to the number of channels.

    Returns:
        Errors (output ranks, input ranks) and the weight's squared norm in the same unit; float64.
    """
    kept_energy = layer.core.double().square().flatten(2).sum(dim=2).cumsum(0).cumsum(1)
    energy = kept_energy[-1, -1]
    errors = (energy - kept_energy).clamp(min=0)
    return errors[_places(output_ranks)][:, _places(input_ranks)], float(energy)


def calibrated_truncation_errors(
    layer: LayerBasis, moments: LayerMoments, output_ranks: Sequence[int], input_ranks: Sequence[int]
) -> tuple[Tensor, float]:
    """Squared errors of a layer's weight at all pairs of ranks in a calibration's norm, as ``WhitenedLayer.error_of``.

    The norm mixes what is kept with what is cut away. For one input rank its sums over all leading blocks are
    cumulative sums of one matrix.

    Args:
        layer: The decomposition.
        moments: The layer's calibration.
        output_ranks, input_ranks: Each 1 to the number of channels.

    Returns:
        Errors (output ranks, input ranks) and the weight's squared norm in the same unit; float64.
    """
    core, factor = layer.core.double().flatten(2), layer.input_factor.double()
    outputs = layer.output_factor.double()
    outputs = outputs.T @ _ridged(moments.outputs, OUTPUT_RIDGE) @ outputs
    channels, width = len(factor), len(moments.inputs) // len(factor)
    inputs = _ridged(moments.inputs, INPUT_RIDGE).reshape(channels, width, channels, width)
    inputs = torch.einsum("iajb,is,jt->satb", inputs, factor, factor)
    shared = (torch.einsum("op,pik->oik", outputs, _through(core, inputs)) * core).sum(dim=2).cumsum(0).cumsum(1)
    energy, columns = shared[-1, -1], []
    for rank in input_ranks:
        part = core[:, :rank]
        own = outputs * (_through(part, inputs).flatten(1) @ part.flatten(1).T)
        columns.append(energy - 2 * shared[:, rank - 1] + own.cumsum(0).cumsum(1).diagonal())
    return torch.stack(columns, dim=1)[_places(output_ranks)].clamp(min=0), float(energy)


def _through(part: Tensor, moment: Tensor) -> Tensor:
    """The first input channels of a core (O, s, taps) times the moment (I, taps or 1, I, taps or 1) among them."""
    rank, width = part.shape[1], moment.shape[1]
    block = moment[:rank, :, :rank].reshape(rank * width, rank * width)
    if width == part.shape[2]:
        return (part.flatten(1) @ block).reshape(part.shape)
    return torch.einsum("oik,ij->ojk", part, block)


def _ridged(moment: Tensor, ridge: float) -> Tensor:
    """As the calibrated factors are solved for: a share of the mean diagonal added; the identity where it is zero."""
    level = float(moment.diagonal().mean())
    return moment + (ridge * level if level > 0 else 1.0) * torch.eye(len(moment), dtype=moment.dtype)


def _places(ranks: Sequence[int]) -> Tensor:
    """Indices of ranks, which begin at 1."""
    return torch.tensor(ranks) - 1
