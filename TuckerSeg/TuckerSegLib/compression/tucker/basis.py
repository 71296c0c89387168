"""Every convolution of a network decomposed once at full rank, sorted, so that any lower rank is a slice.

A partial Tucker decomposition over the two channel modes; the kernel axes stay whole. tensorly does the
decomposition. The factors are orthonormal and sorted by singular value, so cutting them gives exactly the truncated
higher-order SVD of De Lathauwer et al. 2000, SIAM J. Matrix Anal. Appl. 21(4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import ModelFileError, SpecError, UnsupportedModelError
from ...monitor import Monitor
from ..linear_layers import weighted_layers


@dataclass(frozen=True, eq=False)
class LayerBasis:
    """One convolution's full decomposition: ``W[o, i] = sum over r, s of A[o, r] core[r, s] B[i, s]``.

    The output channels come first also for transposed convolutions. Float32, on the CPU.

    Attributes:
        core: (O, I, kz, ky, kx).
        output_factor: A, orthonormal, (O, O); columns sorted by falling singular value.
        input_factor: B, orthonormal, (I, I); the same.
        output_spectrum: Singular values of the unfolding along the output channels, (O,).
        input_spectrum: Along the input channels, (I,).
    """

    core: Tensor
    output_factor: Tensor
    input_factor: Tensor
    output_spectrum: Tensor
    input_spectrum: Tensor

    def truncated(self, ranks: tuple[int, int], sweeps: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Core (r, s, kz, ky, kx), output factor (O, r) and input factor (I, s) at lower ranks.

        Without sweeps the Frobenius error of the rebuilt weight is at most the root of the sum of the discarded
        squared singular values of both spectra. Each sweep of higher-order orthogonal iteration lowers it a little;
        there are none where one rank is all that the other leaves of the weight, for then little is discarded.

        Args:
            ranks: (output rank r, input rank s).
            sweeps: Sweeps of higher-order orthogonal iteration.

        Raises:
            SpecError: A rank lies outside 1 to the number of channels.
        """
        self._check(ranks)
        r, s = ranks
        taps = self.core[0, 0].numel()
        if sweeps and r <= s * taps and s <= r * taps:
            # The core is the weight in orthonormal coordinates: what is best for one is best for the other.
            core, (output_turn, input_turn) = _partial_tucker(self.core.double(), ranks, sweeps)
            output_factor = self.output_factor.double() @ output_turn
            input_factor = self.input_factor.double() @ input_turn
            return core.float(), output_factor.float(), input_factor.float()
        return self.core[:r, :s], self.output_factor[:, :r], self.input_factor[:, :s]

    def retained_energy(self, ranks: tuple[int, int]) -> float:
        """Share of the weight's squared norm that survives truncation to these ranks, 0 to 1; exact.

        Raises:
            SpecError: A rank lies outside 1 to the number of channels.
        """
        self._check(ranks)
        r, s = ranks
        energy = self.core.double().square().sum()
        return float(self.core[:r, :s].double().square().sum() / energy) if energy > 0 else 1.0

    def _check(self, ranks: tuple[int, int]) -> None:
        for rank, channels in zip(ranks, self.core.shape, strict=False):
            if not 1 <= rank <= channels:
                raise SpecError(f"rank {rank} is outside 1 to {channels}, the number of channels")


@dataclass(frozen=True, eq=False)
class RankEvidence:
    """Errors of all rank pairs and spectra of all layers: what policies that look at weights choose ranks by.

    Attributes:
        errors: Path of the layer to input rank to errors (O + 1,), index = output rank; in one unit for all layers.
        spectra: Path to the singular values of the weight's unfoldings along output and input channels; empty in the
            evidence of a calibration, whose policy does not look at them.
    """

    errors: dict[str, dict[int, np.ndarray]]
    spectra: dict[str, tuple[np.ndarray, np.ndarray]]

    def plus(self, other: RankEvidence) -> RankEvidence:
        """The evidence of two networks of one structure that get the same ranks: errors added, this one's spectra."""
        errors = {
            path: {rank: row + other.errors[path][rank] for rank, row in rows.items()}
            for path, rows in self.errors.items()
        }
        return RankEvidence(errors, self.spectra)

    def to_tensors(self) -> dict[str, Tensor]:
        """The errors under flat names, ready for a safetensors file. Spectra are left out: a basis holds them."""
        tensors = {}
        for path, rows in self.errors.items():
            tensors[f"{path}/input_ranks"] = torch.tensor(list(rows))
            tensors[f"{path}/errors"] = torch.from_numpy(np.stack(list(rows.values())))
        return tensors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> RankEvidence:
        """Rebuild evidence, without spectra, from the tensors of :meth:`to_tensors`.

        Raises:
            KeyError: A tensor is missing.
        """
        errors = {}
        for path in dict.fromkeys(name.rpartition("/")[0] for name in tensors):
            ranks, rows = tensors[f"{path}/input_ranks"].tolist(), tensors[f"{path}/errors"].numpy()
            errors[path] = dict(zip(ranks, rows, strict=True))
        return cls(errors, {})


@dataclass(frozen=True, eq=False)
class Basis:
    """The decompositions of a whole network.

    Attributes:
        layers: Path of the convolution (the first of its aliases) to its decomposition.
    """

    layers: dict[str, LayerBasis]

    @property
    def shapes(self) -> dict[str, torch.Size]:
        """Path to the weight's shape, output channels first."""
        return {path: layer.core.shape for path, layer in self.layers.items()}

    def truncated(self, path: str, ranks: tuple[int, int], sweeps: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Core (r, s, kz, ky, kx), output factor (O, r) and input factor (I, s) of a layer at lower ranks.

        Args:
            path: Of the layer.
            ranks, sweeps: As for :meth:`LayerBasis.truncated`.

        Raises:
            SpecError: A rank lies outside 1 to the number of channels.
        """
        return self.layers[path].truncated(ranks, sweeps)

    def evidence(self) -> RankEvidence:
        """Errors of all rank pairs, relative to each layer's squared weight norm; and the spectra."""
        errors, spectra = {}, {}
        for path, layer in self.layers.items():
            energy = layer.core.double().square().flatten(2).sum(dim=2)
            kept_energy = energy.cumsum(dim=0).cumsum(dim=1) / energy.sum().clamp(min=1e-300)
            lost_energy = torch.cat([torch.ones_like(kept_energy[:1]), (1 - kept_energy).clamp(min=0)]).numpy()
            errors[path] = {rank + 1: lost_energy[:, rank] for rank in range(lost_energy.shape[1])}
            spectra[path] = (layer.output_spectrum.numpy(), layer.input_spectrum.numpy())
        return RankEvidence(errors, spectra)

    def retained_energy(self, path: str, ranks: tuple[int, int]) -> float:
        """Share of a layer's squared weight norm that survives ranks (output rank r, input rank s), 0 to 1."""
        return self.layers[path].retained_energy(ranks)

    def to_tensors(self) -> dict[str, Tensor]:
        """Flat names to contiguous tensors, ready for a safetensors file."""
        return {
            f"{path}/{field.name}": getattr(layer, field.name).contiguous()
            for path, layer in self.layers.items()
            for field in fields(LayerBasis)
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Basis:
        """Rebuild a basis from the tensors of :meth:`to_tensors`.

        Raises:
            ModelFileError: A tensor is missing or has a shape that does not fit the others.
        """
        paths = dict.fromkeys(name.rpartition("/")[0] for name in tensors)
        try:
            layers = {
                path: LayerBasis(**{field.name: tensors[f"{path}/{field.name}"] for field in fields(LayerBasis)})
                for path in paths
            }
        except KeyError as error:
            raise ModelFileError(f"the stored decomposition lacks {error}; make it again") from error
        for path, layer in layers.items():
            o, i = layer.core.shape[:2]
            shapes = [tuple(getattr(layer, field.name).shape) for field in fields(LayerBasis)][1:]
            if shapes != [(o, o), (i, i), (o,), (i,)]:
                raise ModelFileError(f"the stored decomposition of {path} has shapes that do not fit; make it again")
        return cls(layers)


def decompose(network: nn.Module, monitor: Monitor | None = None) -> Basis:
    """Decompose every linear layer, 3D convolution and transposed convolution with ``groups == 1`` at full rank.

    Works in float64 on the CPU and leaves the network, tensorly's backend and torch's settings as they are. tensorly
    holds its backend per thread and process, so decompose from one thread at a time.

    Args:
        network: Read only. Its weights must be real.
        monitor: Hears the fraction of the layers done, and is asked after each whether to stop.

    Raises:
        SpecError: The network is on the meta device and has no weights.
        UnsupportedModelError: A weight is NaN or infinite.
        Cancelled: The monitor said so.
    """
    monitor = monitor or Monitor()
    convs = {path: conv for path, conv in weighted_layers(network).items() if conv.groups == 1}
    layers = {}
    for path, conv in convs.items():
        if conv.weight.is_meta:
            raise SpecError(f"{path}: only real weights can be decomposed, this network has none (meta device)")
        if not torch.isfinite(conv.weight).all():
            raise UnsupportedModelError(f"{path}: weights contain NaN or infinity; the checkpoint is damaged")
        layers[path] = _decompose_layer(conv)
        monitor.fraction(len(layers) / len(convs))
    return Basis(layers)


def _decompose_layer(conv: nn.Module) -> LayerBasis:
    """The full decomposition of one convolution's weight."""
    weight = conv.weight.detach().to("cpu", torch.float64)
    if conv.transposed:
        weight = weight.transpose(0, 1)  # stored (I, O, ...)
    core, factors = _partial_tucker(weight, tuple(weight.shape[:2]), sweeps=0)
    # At full rank the core's slices have the singular values as their norms (all-orthogonality).
    spectra = [torch.linalg.vector_norm(core.transpose(0, mode).flatten(1), dim=1) for mode in (0, 1)]
    return LayerBasis(*(tensor.float().contiguous() for tensor in (core, *factors, *spectra)))


def _partial_tucker(tensor: Tensor, ranks: Sequence[int], sweeps: int) -> tuple[Tensor, list[Tensor]]:
    """tensorly's partial Tucker over modes 0 and 1, float64: truncated HOSVD, then HOOI sweeps."""
    import tensorly
    from tensorly.decomposition import partial_tucker

    # Leaving the context brings the caller's backend back.
    with torch.no_grad(), tensorly.backend_context("pytorch", local_threadsafe=True):
        (core, factors), _ = partial_tucker(
            tensor,
            rank=list(ranks),
            modes=[0, 1],
            init="svd",
            svd=_left_singular_vectors,
            n_iter_max=sweeps,
            tol=0,
        )
    return core, list(factors)


def _left_singular_vectors(matrix: Tensor, n_eigenvecs: int | None = None, **_) -> tuple[Tensor, Tensor, Tensor]:
    """Left singular vectors by eigenvalues of the Gram matrix of the rows, for tensorly's ``svd=``.

    A channel unfolding is short and wide, (O, I k^3), so this is many times faster than an SVD, and it always gives
    a complete orthonormal basis, also where there are more rows than columns. In float64 the squaring costs no
    accuracy that float32 weights have. The right vectors, which nobody asks for, are left empty.
    """
    eigenvalues, vectors = torch.linalg.eigh(matrix @ matrix.T)
    rank = n_eigenvecs or len(vectors)
    left = vectors.flip(1)[:, :rank]
    values = eigenvalues.flip(0)[:rank].clamp(min=0).sqrt()
    return left, values, matrix.new_empty(0, matrix.shape[1])
