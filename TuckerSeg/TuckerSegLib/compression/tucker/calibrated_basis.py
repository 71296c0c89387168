"""Every convolution of a network in its calibrated norm, so that any rank can be solved for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...errors import SpecError
from ..allocation import rank_steps
from ..calibration import Calibration
from ..layers import convolutions
from .basis import RankEvidence
from .whitening import SWEEPS, WhitenedLayer


@dataclass(frozen=True, eq=False)
class CalibratedBasis:
    """Weights and moments of a network.

    Attributes:
        weights: Path to the weight, output channels first.
        calibration: The moments behind the norm.
    """

    weights: dict[str, Tensor]
    calibration: Calibration

    @classmethod
    def of(cls, network: nn.Module, calibration: Calibration) -> CalibratedBasis:
        """Take a network's weights.

        Raises:
            SpecError: The calibration belongs to another network.
        """
        convs = {path: conv for path, conv in convolutions(network).items() if path in calibration.layers}
        weights = {}
        for path, moments in calibration.layers.items():
            conv = convs.get(path)
            if conv is None or len(moments.outputs) != conv.out_channels or len(moments.inputs) % conv.in_channels:
                raise SpecError(f"{path}: the calibration belongs to another network")
            weight = conv.weight.detach()
            weights[path] = weight.transpose(0, 1) if conv.transposed else weight
        return cls(weights, calibration)

    @property
    def shapes(self) -> dict[str, torch.Size]:
        """Path to the weight's shape, output channels first."""
        return {path: weight.shape for path, weight in self.weights.items()}

    def layer(self, path: str) -> WhitenedLayer:
        """A layer in its norm; made anew with every call."""
        return WhitenedLayer(self.weights[path], self.calibration.layers[path])

    def truncated(self, path: str, ranks: tuple[int, int], sweeps: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Core (r, s, kz, ky, kx), output factor (O, r) and input factor (I, s), float32.

        Args:
            sweeps: Alternations; 0 takes the usual number, for without any the norm is not minimized.
        """
        factors = self.layer(path).truncated(ranks, sweeps or SWEEPS)
        core = factors.core.reshape(*factors.core.shape[:2], *self.weights[path].shape[2:])
        return core.float(), factors.output_factor.float(), factors.input_factor.float()

    def evidence(self, multiple: int, progress: Callable[[float], None] | None = None) -> RankEvidence:
        """Errors in the logits, relative to their energy, at all ranks that are multiples.

        Args:
            multiple: Step of the ranks.
            progress: Called with the fraction done; may raise to stop.
        """
        errors = {}
        for number, (path, weight) in enumerate(self.weights.items(), start=1):
            found = self.layer(path).errors(rank_steps(weight.shape[1], multiple))
            errors[path] = {rank: (row / self.calibration.logit_energy).numpy() for rank, row in found.items()}
            if progress is not None:
                progress(number / len(self.weights))
        return RankEvidence(errors, {})
