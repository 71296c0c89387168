"""What is slow about weight sharing, done once per network: codebooks, and the index of every weight."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import UnsupportedModelError
from ...monitor import Monitor
from ..calibration import Calibration
from ..layers import convolutions
from .feedback import chains, restoring
from .importance import Importance, importances
from .layers import is_shareable
from .quantizers import QUANTIZERS
from .quantizers.codebook import Codebook, Settings
from .rounding import round_with_feedback
from .spec import Spec

VERSION = 1  # raise when the same spec and weights give other codebooks or indices

Tensors = dict[str, Tensor]
Keep = Callable[[Mapping[str, Any], Callable[[], Tensors], Callable[[Tensors], Any]], Any]


def prepare(
    network: nn.Module, spec: Spec, moments: Calibration | None, keep: Keep, monitor: Monitor | None = None
) -> Tensors:
    """Quantize the kernels of a network.

    Args:
        network: Read only.
        spec: How.
        moments: Of the calibration that the spec names; None: the weights alone count.
        keep: ``keep(facts, make, read)`` gives ``read(tensors)`` of the tensors that were stored for this network under
            some facts (JSON types), else of what ``make()`` gives, which is stored then.
        monitor: Hears the fraction done, and is asked after each layer whether to stop.

    Returns:
        ``path/index`` (uint8 or uint16, of the kernel's shape), ``path/centers`` and, where there are any,
        ``path/scales``, for every convolution whose weights are numbers; a global codebook is there with each.

    Raises:
        UnsupportedModelError: A weight is NaN or infinite.
        Cancelled: The monitor said so.
    """
    monitor = monitor or Monitor()
    facts = {"of": "codes", **dataclasses.asdict(spec)}
    return keep(facts, lambda: _Sharing(network, spec, moments).tensors(monitor), dict)


class _Sharing:
    """One quantization of a network's kernels."""

    def __init__(self, network: nn.Module, spec: Spec, moments: Calibration | None):
        self._spec, self._moments = spec, moments
        self._quantizer = QUANTIZERS[spec.quantizer]
        self._convs = {path: conv for path, conv in convolutions(network).items() if is_shareable(conv)}
        self._kernels = {path: _output_first(conv) for path, conv in self._convs.items()}
        for path, kernel in self._kernels.items():
            if not kernel.isfinite().all():
                raise UnsupportedModelError(f"{path} holds weights that are no finite numbers; they cannot be shared")
        self._next = {first: second for chain in chains(network) for first, second in zip(chain, chain[1:])}
        self._importances = importances(self._kernels, spec, moments)
        self._kept = self._kept_weights()
        self._clusters = spec.clusters - bool(spec.sparsity)

    def tensors(self, monitor: Monitor) -> Tensors:
        """See :func:`prepare`."""
        tensors: Tensors = {}
        common = self._fit(list(self._kernels)) if self._spec.codebook == "global" else None
        for number, path in enumerate(self._kernels, start=1):
            codebook = common or self._fit([path])
            indices, centers, scales = self._quantized(path, codebook)
            if path in self._next:
                self._mend(path, centers[indices] * scales[:, None, None])
            tensors |= self._stored(path, indices, centers, scales)
            monitor.fraction(number / len(self._kernels))
        return tensors

    def _kept_weights(self) -> dict[str, np.ndarray | None]:
        """Which weights are not set to zero, (O, I taps); None: all."""
        if not self._spec.sparsity or not self._kernels:
            return dict.fromkeys(self._kernels)
        saliency = {
            path: self._importances[path].weights * kernel.flatten(1).double().square().numpy()
            for path, kernel in self._kernels.items()
        }
        every = np.concatenate([each.ravel() for each in saliency.values()])
        place = min(len(every) - 1, int(self._spec.sparsity * len(every)))
        threshold = np.partition(every, place)[place]
        return {path: each >= threshold for path, each in saliency.items()}

    def _fit(self, paths: list[str]) -> Codebook:
        """The codebook of some kernels together."""
        parts = [self._part(path) for path in paths]
        values, importance = (np.concatenate([part[number] for part in parts]) for number in (0, 1))
        if not len(values):
            return Codebook(np.zeros(1), np.zeros(1))
        return self._quantizer.fit(values, importance, self._settings(parts[0][2]))

    def _part(self, path: str) -> tuple[np.ndarray, np.ndarray, Importance]:
        """Scaled weights of a kernel that are kept, and how much the error of each counts."""
        kernel, importance = self._kernels[path].flatten(1).numpy(), self._importances[path]
        scales = self._scales(path)[:, None]
        values, weights = kernel / scales, importance.weights * scales**2
        kept = slice(None) if self._kept[path] is None else self._kept[path]
        return values[kept].ravel(), weights[kept].ravel(), importance

    def _settings(self, importance: Importance) -> Settings:
        return Settings(self._clusters, self._spec.seed, importance.nat_price)

    def _scales(self, path: str) -> np.ndarray:
        """What each output channel is divided by, (O,); ones where nothing is."""
        kernel = self._kernels[path].flatten(1).double()
        if self._spec.scale == "none":
            return np.ones(len(kernel))
        squares = kernel.square().mean(dim=1)
        squares = squares.mean().expand(len(kernel)) if self._spec.scale == "tensor" else squares
        return torch.where(squares > 0, squares.sqrt(), 1.0).float().double().numpy()

    def _quantized(self, path: str, codebook: Codebook) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Indices (O, I, taps), centers (zero the first, where weights were set to zero) and scales (O,)."""
        shape, kept, scales = self._kernels[path].shape, self._kept[path], self._scales(path)
        centers = codebook.centers if kept is None else np.concatenate(([0.0], codebook.centers))
        layer = self._moments and self._moments.layers.get(path)
        if layer is None or self._spec.codebook == "global" or not self._quantizer.TAKES_FEEDBACK:
            values, weights, importance = self._part(path)
            assigned = self._quantizer.assign(values, weights, codebook, self._settings(importance))
            indices = np.zeros(shape, np.int64)
            indices[... if kept is None else kept.reshape(shape)] = (
                assigned.reshape(shape) if kept is None else assigned + 1
            )
            return indices, centers.astype(np.float32), scales
        # Rows are multiplied with one vector of inputs; where the moment tells no taps apart, every tap is a row.
        whole = len(layer.inputs) == shape[1] * shape[2]
        rows = _Rows(shape, whole)
        scaled = rows.of(self._kernels[path].numpy() / scales[:, None, None])
        importance = self._importances[path]
        weights = rows.of((importance.weights * scales[:, None] ** 2).reshape(shape))
        masks = None if kept is None else rows.of(kept.reshape(shape))
        settings = self._settings(importance)

        def round_column(values: np.ndarray, column: int) -> tuple[np.ndarray, np.ndarray]:
            assigned = self._quantizer.assign(values, weights[:, column], codebook, settings)
            if masks is not None:
                assigned = np.where(masks[:, column], assigned + 1, 0)
            return assigned, centers[assigned]

        indices = rows.back(round_with_feedback(scaled, layer.inputs, round_column))
        return indices, centers.astype(np.float32), scales

    def _mend(self, path: str, quantized: np.ndarray) -> None:
        """Give the layer that follows directly the matrix that mends this one's error."""
        kernel, following = self._kernels[path], self._next[path]
        if following not in self._kernels:
            return
        layer = self._moments and self._moments.layers.get(path)
        matrix = restoring(kernel, torch.from_numpy(quantized), layer and layer.inputs)
        mended = torch.einsum("oit,ij->ojt", self._kernels[following].double(), matrix)
        self._kernels[following] = mended.float()

    def _stored(self, path: str, indices: np.ndarray, centers: np.ndarray, scales: np.ndarray) -> Tensors:
        conv, kernel = self._convs[path], self._kernels[path]
        index = torch.from_numpy(indices.astype(np.uint8 if self._spec.clusters <= 256 else np.uint16))
        index = index.reshape(*kernel.shape[:2], *conv.kernel_size)
        index = (index.transpose(0, 1) if conv.transposed else index).contiguous()
        tensors = {f"{path}/index": index, f"{path}/centers": torch.from_numpy(centers)}
        if self._spec.scale != "none":
            numbers = torch.from_numpy(scales).to(kernel.dtype)
            tensors[f"{path}/scales"] = numbers[:1].clone() if self._spec.scale == "tensor" else numbers
        return tensors


@dataclasses.dataclass(frozen=True)
class _Rows:
    """A kernel of (O, I, taps) as rows that are multiplied with one vector: (O, I taps), or (O taps, I)."""

    shape: tuple[int, int, int]
    whole: bool

    def of(self, kernel: np.ndarray) -> np.ndarray:
        outputs, inputs, taps = self.shape
        if self.whole:
            return kernel.reshape(outputs, inputs * taps)
        return kernel.transpose(0, 2, 1).reshape(outputs * taps, inputs)

    def back(self, rows: np.ndarray) -> np.ndarray:
        outputs, inputs, taps = self.shape
        if self.whole:
            return rows.reshape(self.shape)
        return rows.reshape(outputs, taps, inputs).transpose(0, 2, 1)


def _output_first(conv: nn.Module) -> Tensor:
    """A convolution's weight as (O, I, taps) in single precision."""
    weight = conv.weight.detach().float().flatten(2)
    return (weight.transpose(0, 1) if conv.transposed else weight).contiguous()
