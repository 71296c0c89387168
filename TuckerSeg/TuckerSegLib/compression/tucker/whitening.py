"""Tucker-2 in the norm that calibration gives: factors that minimize what an error does to the logits.

With input moment S = L L^T and output moment F, the weight error E costs ``trace(F E S E^T)``, the Frobenius norm of
``F^1/2 E L``. Whitened by both, the weight is decomposed as ever and the factors are carried back (Kalle et al. 2025,
arXiv:2511.04494, who weigh inputs only; SVD-LLM, arXiv:2403.07378, does so for matrices). Where taps are told apart,
S mixes channels and taps, so no single decomposition is best: for a given input factor the best output factor and
core are known in closed form (reduced-rank regression), for given others the best input factor is a linear problem,
and the two take turns.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import SpecError
from ..calibration import LayerMoments
from ..second_moments import gram

INPUT_RIDGE = 1e-3  # of the mean eigenvalue: directions that calibration never saw are not free
OUTPUT_RIDGE = 1e-3
SWEEPS = 3
_TINY = 1e-9


@dataclass(frozen=True, eq=False)
class Factors:
    """Tucker-2 factors of a weight: ``W[o, i] = sum over r, s of output_factor[o, r] core[r, s] input_factor[i, s]``.

    Attributes:
        core: (r, s, taps).
        output_factor: Orthonormal, (O, r).
        input_factor: Orthonormal, (I, s).
        error: Of the rebuilt weight, in the layer's calibrated norm, squared.
    """

    core: Tensor
    output_factor: Tensor
    input_factor: Tensor
    error: float

    def rebuilt(self) -> Tensor:
        """The weight (O, I, taps) that the factors stand for."""
        return torch.einsum("or,rsk,is->oik", self.output_factor, self.core, self.input_factor)


class WhitenedLayer:
    """One convolution's weight in the norm of its calibration.

    Args:
        weight: (O, I, ...), output channels first.
        moments: Its calibration.
    """

    def __init__(self, weight: Tensor, moments: LayerMoments):
        self.weight = weight.detach().double().flatten(2)
        self.outputs, self.inputs, self.taps = self.weight.shape
        self._tells_taps = len(moments.inputs) != self.inputs or self.taps == 1
        self._moment = _ridged(moments.inputs, INPUT_RIDGE)
        self._out, self._out_inverse = _root(_ridged(moments.outputs, OUTPUT_RIDGE))
        self._scaled = torch.einsum("ab,bik->aik", self._out, self.weight)
        self._lower = torch.linalg.cholesky(self._channel_moment())
        whitened = torch.einsum("oik,ij->jok", self._scaled, self._lower).flatten(1)
        directions = _leading(whitened)
        self._leading_factor = torch.linalg.solve_triangular(self._lower.T, directions, upper=True)
        # Where taps are not told apart, these directions are uncorrelated: (I, O, taps), what each of them explains
        self._explained = None if self._tells_taps else (directions.T @ whitened).unflatten(1, (self.outputs, -1))
        self.energy = self._norm(self._scaled) if self._tells_taps else float(whitened.square().sum())

    def errors(self, input_ranks: Sequence[int]) -> dict[int, Tensor]:
        """Squared errors of the weight at every output rank, in the calibrated norm, without sweeps.

        Args:
            input_ranks: Each 1 to I.

        Returns:
            Input rank to errors (O + 1,), index = output rank; rank 0 costs the whole layer.
        """
        # A triangular root of the first columns' moment is the first block of the root of all, so what the first input
        # directions explain is the beginning of what all explain, and one regression serves every rank.
        columns = self._leading_regression(max(input_ranks))[1].unflatten(1, (-1, self.taps))
        explained, before, errors = columns.new_zeros(self.outputs, self.outputs), 0, {}
        for rank in sorted(set(input_ranks)):
            added = columns[:, before:rank].flatten(1)
            explained.addmm_(added, added.T)
            kept_energy = torch.linalg.eigvalsh(explained).flip(0).clamp(min=0).cumsum(0)
            errors[rank] = torch.cat([kept_energy.new_zeros(1), kept_energy]).neg().add(self.energy).clamp(min=0)
            before = rank
        return errors

    def error_of(self, weight: Tensor) -> float:
        """Squared error, in the calibrated norm, of another weight (O, I, ...) in the place of this one."""
        return self._norm(torch.einsum("ab,bik->aik", self._out, self.weight - weight.double().flatten(2)))

    def truncated(self, ranks: tuple[int, int], sweeps: int = SWEEPS) -> Factors:
        """The best factors found at these ranks.

        Starts from the whitened and from the plain decomposition, so that it is never worse than either.

        Args:
            ranks: (output rank r, input rank s).
            sweeps: How often output and input factors are solved for in turn after the start.

        Raises:
            SpecError: A rank lies outside 1 to the number of channels.
        """
        r, s = ranks
        for rank, channels in ((r, self.outputs), (s, self.inputs)):
            if not 1 <= rank <= channels:
                raise SpecError(f"rank {rank} is outside 1 to {channels}, the number of channels")
        regressions = [(self._leading_factor[:, :s], self._leading_regression(s))]
        if s < self.inputs:
            plain = _leading(self.weight.transpose(0, 1).flatten(1))[:, :s]
            regressions.append((plain, self._regression(plain)))
        return min((self._alternate(*each, r, sweeps) for each in regressions), key=lambda factors: factors.error)

    def _alternate(self, input_factor: Tensor, regression: tuple[Tensor, Tensor], r: int, sweeps: int) -> Factors:
        """Factors at output rank r, solved for in turn from an input factor (I, s) and the regression behind it on."""
        if not self._tells_taps or input_factor.shape[1] == self.inputs:
            sweeps = 0
        for sweep in range(sweeps + 1):
            solution, whitened = regression if sweep == 0 else self._regression(input_factor)
            energies, output_factor = torch.linalg.eigh(gram(whitened))
            output_factor = output_factor[:, -r:].flip(1)
            core = torch.einsum("or,osk->rsk", output_factor, solution)
            if sweep < sweeps:
                input_factor = self._best_inputs(output_factor, core)
        error = max(0.0, self.energy - float(energies[-r:].sum()))
        return self._orthonormal(self._out_inverse @ output_factor, core, input_factor, error)

    def _orthonormal(self, output_factor: Tensor, core: Tensor, input_factor: Tensor, error: float) -> Factors:
        """The same product with orthonormal outer factors: half precision and training like numbers of one size."""
        output_factor, left = torch.linalg.qr(output_factor)
        input_factor, right = torch.linalg.qr(input_factor)
        core = torch.einsum("ar,rsk,bs->abk", left, core, right)
        return Factors(core, output_factor, input_factor, error)

    def _leading_regression(self, s: int) -> tuple[Tensor, Tensor]:
        """What :meth:`_regression` gives behind the s most important input directions."""
        if self._explained is None:
            return self._regression(self._leading_factor[:, :s])
        solution = self._explained[:s].transpose(0, 1)
        return solution, solution.flatten(1)

    def _regression(self, input_factor: Tensor) -> tuple[Tensor, Tensor]:
        """The weight behind an input factor (I, s) that is best without a restriction of its output rank.

        Returns:
            The unrestricted solution (O, s, taps); and the same in whitened coordinates, flattened to a matrix of O
            rows whose squared norm is what it explains.
        """
        s = input_factor.shape[1]
        if self._tells_taps:
            blocks = self._moment.reshape(self.inputs, self.taps, self.inputs, self.taps)
            behind = torch.einsum("is,ikjl->skjl", input_factor, blocks)
            moment = torch.einsum("skjl,jt->sktl", behind, input_factor).reshape(s * self.taps, s * self.taps)
            cross = self._scaled.flatten(1) @ behind.reshape(s * self.taps, -1).T
            lower = torch.linalg.cholesky(_ridged(moment, _TINY))
            solution = torch.cholesky_solve(cross.T, lower).T
            return solution.reshape(self.outputs, s, self.taps), solution @ lower
        behind = self._moment @ input_factor
        moment = input_factor.T @ behind
        lower = torch.linalg.cholesky(_ridged(moment, _TINY))
        cross = torch.einsum("oik,is->sok", self._scaled, behind).flatten(1)
        solution = torch.cholesky_solve(cross, lower).reshape(s, self.outputs, self.taps).transpose(0, 1)
        return solution, torch.einsum("osk,st->otk", solution, lower).flatten(1)

    def _best_inputs(self, output_factor: Tensor, core: Tensor) -> Tensor:
        """Input factor (I, s) that is best for given others: one linear system of s I unknowns."""
        r, s, _ = core.shape
        projected = (output_factor.T @ self._scaled.flatten(1)) @ self._moment
        right = torch.einsum("rsk,rik->si", core, projected.reshape(r, self.inputs, self.taps)).flatten()
        # A pair of taps adds the transposed of what the same pair the other way round adds.
        taps, blocks = self._tap_pairs
        products = torch.einsum("rsk,rtl->klst", core, core)[*taps]
        half = (products.flatten(1).T @ blocks.flatten(1)).unflatten(0, (s, s)).unflatten(2, (self.inputs, -1))
        half = half.transpose(1, 2).reshape(s * self.inputs, s * self.inputs)
        return _solved(_ridged(half + half.T, _TINY), right).reshape(s, self.inputs).T

    @functools.cached_property
    def _tap_pairs(self) -> tuple[Tensor, Tensor]:
        """Every pair of taps once, (2, pairs), and its block of the moment, (pairs, I, I), halved for one tap twice."""
        taps = torch.triu_indices(self.taps, self.taps)
        blocks = self._moment.reshape(self.inputs, self.taps, self.inputs, self.taps).permute(1, 3, 0, 2)[*taps]
        blocks[taps[0] == taps[1]] /= 2
        return taps, blocks

    def _channel_moment(self) -> Tensor:
        """The input moment over channels alone, (I, I)."""
        if not self._tells_taps:
            return self._moment
        blocks = self._moment.reshape(self.inputs, self.taps, self.inputs, self.taps)
        return torch.einsum("ikjk->ij", blocks) / self.taps

    def _norm(self, scaled: Tensor) -> float:
        """Squared calibrated norm of a weight (O, I, taps) that the output moment's root was applied to."""
        if self._tells_taps:
            flat = scaled.flatten(1)
            return float(((flat @ self._moment) * flat).sum())
        return float((torch.einsum("oik,ij->ojk", scaled, self._moment) * scaled).sum())


def _ridged(matrix: Tensor, ridge: float) -> Tensor:
    """The matrix with a share of its mean diagonal on the diagonal; the identity where it is zero."""
    level = float(matrix.diagonal().mean())
    ridged = matrix.clone()
    ridged.diagonal().add_(ridge * level if level > 0 else 1.0)
    return ridged


def _solved(system: Tensor, right: Tensor) -> Tensor:
    """The solution of a symmetric, positive system; one that is not quite so by rounding is solved as any other."""
    lower, failed = torch.linalg.cholesky_ex(system)
    if failed:
        return torch.linalg.solve(system, right)
    return torch.cholesky_solve(right[:, None], lower).squeeze(1)


def _root(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetric square root and its inverse."""
    values, vectors = torch.linalg.eigh(matrix)
    values = values.clamp(min=float(values[-1]) * 1e-12).sqrt()
    return (vectors * values) @ vectors.T, (vectors / values) @ vectors.T


def _leading(rows: Tensor) -> Tensor:
    """Left singular vectors of a matrix as columns, that of the largest singular value first."""
    return torch.linalg.eigh(gram(rows))[1].flip(1)
