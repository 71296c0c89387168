"""A calibration in a tenth of its size, so that it can come with a model.

What a convolution reads looks alike wherever its kernel lies, so the moment of two taps hangs on their displacement
alone: of the ``(kz ky kx)^2`` blocks of an input moment one per displacement is kept, the mean of those that it stands
for, and of a displacement and its opposite one. They are kept as correlations in sixteen bits. All other moments are
small: their upper triangles are kept in single precision, and histograms of magnitudes in half precision.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from ..errors import ModelFileError
from .calibration import Calibration, LayerMoments
from .linear_layers import weighted_layers
from .sampling import tells_taps_apart

PROJECTIONS = 8  # in turn onto moments without negative eigenvalues and onto those of displacements alone
QUANTA = 32767
SHRINKAGE = 0.998  # of correlations: more than their rounding can make of a small eigenvalue

Kernel = Sequence[int]


def to_compact_tensors(calibration: Calibration, network: nn.Module) -> dict[str, Tensor]:
    """Flat names to tensors from which :func:`from_compact_tensors` rebuilds a calibration that is nearly the same.

    Args:
        calibration: Of the network.
        network: Tells which moments are of channels and taps.
    """
    tensors = {"whole": torch.tensor([calibration.logit_energy, calibration.patches], dtype=torch.float64)}
    convs = weighted_layers(network)
    for path, moments in calibration.layers.items():
        kernel = tuple(convs[path].kernel_size)
        if tells_taps_apart(convs[path]) and math.prod(kernel) > 1:
            tensors |= {f"{path}/{name}": value for name, value in _correlations(moments.inputs, kernel).items()}
        else:
            tensors[f"{path}/inputs"] = _upper(moments.inputs)
        tensors[f"{path}/outputs"] = _upper(moments.outputs)
        tensors[f"{path}/variance"] = moments.variance.float()
        if moments.magnitudes is not None:
            tensors[f"{path}/magnitudes"] = moments.magnitudes.half()
    return tensors


def from_compact_tensors(tensors: Mapping[str, Tensor]) -> Calibration:
    """Rebuild a calibration from the tensors of :func:`to_compact_tensors`, in single precision.

    Raises:
        ModelFileError: A tensor is missing, or of another shape or type.
    """
    try:
        logit_energy, patches = tensors["whole"].tolist()
        paths = dict.fromkeys(name.rpartition("/")[0] for name in tensors if "/" in name)
        layers = {path: _layer(path, tensors) for path in paths}
    except (KeyError, RuntimeError, ValueError, IndexError) as error:
        raise ModelFileError(f"the calibration is damaged ({error}); install the program anew") from error
    return Calibration(layers, logit_energy, int(patches)).rounded()


def _layer(path: str, tensors: Mapping[str, Tensor]) -> LayerMoments:
    if f"{path}/inputs" in tensors:
        inputs = _full(tensors[f"{path}/inputs"])
    else:
        kernel, deviations = tensors[f"{path}/kernel"].tolist(), tensors[f"{path}/deviations"].double()
        correlations = tensors[f"{path}/correlations"].double() / QUANTA
        inputs = _moment(correlations * deviations[:, None] * deviations, kernel)
    magnitudes = tensors.get(f"{path}/magnitudes")
    return LayerMoments(
        inputs,
        _full(tensors[f"{path}/outputs"]),
        tensors[f"{path}/variance"].double(),
        None if magnitudes is None else magnitudes.double(),
    )


def _correlations(moment: Tensor, kernel: Kernel) -> dict[str, Tensor]:
    """What is kept of an input moment (I taps, I taps)."""
    blocks = _blocks(_stationary(moment, kernel), kernel)
    deviations = blocks[0].diagonal().clamp(min=0).sqrt()
    units = torch.where(deviations > 0, deviations, torch.ones_like(deviations))
    correlations = blocks / units[:, None] / units * SHRINKAGE
    correlations[0].fill_diagonal_(1)
    quanta = (correlations.clamp(-1, 1) * QUANTA).round().to(torch.int16)
    return {"kernel": torch.tensor(kernel), "deviations": deviations.float(), "correlations": quanta}


def _displacements(kernel: Kernel) -> list[tuple[int, ...]]:
    """Half of the displacements between taps of a kernel, none first: the opposite of each is left out."""
    return [each for each in itertools.product(*(range(1 - size, size) for size in kernel)) if each >= (0, 0, 0)]


def _pairs(displacement: Sequence[int], kernel: Kernel) -> Iterator[tuple[int, int]]:
    """Numbers of all pairs of taps that have a displacement."""
    ranges = (range(max(0, -shift), min(size, size - shift)) for shift, size in zip(displacement, kernel, strict=True))
    for tap in itertools.product(*ranges):
        yield _number(tap, kernel), _number([at + shift for at, shift in zip(tap, displacement)], kernel)


def _number(tap: Sequence[int], kernel: Kernel) -> int:
    return (tap[0] * kernel[1] + tap[1]) * kernel[2] + tap[2]


def _blocks(moment: Tensor, kernel: Kernel) -> Tensor:
    """Mean block of every displacement, (displacements, I, I), of an input moment (I taps, I taps)."""
    taps = math.prod(kernel)
    of_taps = moment.reshape(len(moment) // taps, taps, len(moment) // taps, taps)
    means = []
    for displacement in _displacements(kernel):
        pairs = list(_pairs(displacement, kernel))
        means.append(sum(of_taps[:, first, :, second] for first, second in pairs) / len(pairs))
    means[0] = (means[0] + means[0].T) / 2
    return torch.stack(means)


def _moment(blocks: Tensor, kernel: Kernel) -> Tensor:
    """The input moment (I taps, I taps) of the blocks (displacements, I, I)."""
    taps, channels = math.prod(kernel), blocks.shape[1]
    of_taps = blocks.new_zeros(channels, taps, channels, taps)
    for displacement, block in zip(_displacements(kernel), blocks, strict=True):
        for first, second in _pairs(displacement, kernel):
            of_taps[:, first, :, second] = block
            of_taps[:, second, :, first] = block.T
    return of_taps.reshape(channels * taps, channels * taps)


def _stationary(moment: Tensor, kernel: Kernel) -> Tensor:
    """A near moment whose blocks hang on displacements alone, and that has no negative eigenvalue."""
    moment = _moment(_blocks(moment, kernel), kernel)
    for _ in range(PROJECTIONS):
        values, vectors = torch.linalg.eigh(moment)
        if values[0] >= 0:
            return moment
        positive = (vectors * values.clamp(min=0)) @ vectors.T
        moment = _moment(_blocks(positive, kernel), kernel)
    lacking = max(0.0, -float(torch.linalg.eigvalsh(moment)[0]))
    return moment + lacking * torch.eye(len(moment), dtype=moment.dtype)


def _upper(matrix: Tensor) -> Tensor:
    rows, columns = torch.triu_indices(len(matrix), len(matrix))
    return matrix[rows, columns].float()


def _full(values: Tensor) -> Tensor:
    """The symmetric matrix of an upper triangle, in float64."""
    size = (math.isqrt(8 * len(values) + 1) - 1) // 2
    rows, columns = torch.triu_indices(size, size)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    matrix[rows, columns] = matrix[columns, rows] = values.double()
    return matrix
