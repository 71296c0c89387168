"""Every convolution of a network in its calibrated norm, so that any rank can be solved for."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ...errors import SpecError
from ...monitor import Monitor
from ..calibration import Calibration, LayerMoments
from ..linear_layers import LinearView, weighted_layers
from .basis import RankEvidence
from .rank_allocation import rank_steps
from .whitening import SWEEPS, WhitenedLayer


@dataclass(frozen=True, eq=False)
class CalibratedBasis:
    """Weights and moments of a network's convolutions, from which any rank can be solved for.

    Attributes:
        weights: Path to the weight, output channels first, (O, I, kz, ky, kx).
        calibration: The moments behind the norm.
        output_voxels: Path to how many voxels a layer makes of one of its input: 1, or the volume of a transposed
            convolution's stride.
        linear: Paths of linear layers, whose weights have no taps.
    """

    weights: dict[str, Tensor]
    calibration: Calibration
    output_voxels: dict[str, int]
    linear: frozenset[str] = frozenset()

    @classmethod
    def from_network(cls, network: nn.Module, calibration: Calibration) -> CalibratedBasis:
        """The basis of a network's convolutions that a calibration has moments of. Weights are shared, not copied.

        Raises:
            SpecError: The calibration belongs to another network.
        """
        convs = {path: conv for path, conv in weighted_layers(network).items() if path in calibration.layers}
        weights, output_voxels, linear = {}, {}, set()
        for path, moments in calibration.layers.items():
            conv = convs.get(path)
            if conv is None or len(moments.outputs) != conv.out_channels or len(moments.inputs) % conv.in_channels:
                raise SpecError(f"{path}: the calibration belongs to another network")
            weight = conv.weight.detach()
            weights[path] = weight.transpose(0, 1) if conv.transposed else weight
            output_voxels[path] = math.prod(conv.stride) if conv.transposed else 1
            if isinstance(conv, LinearView):
                linear.add(path)
        return cls(weights, calibration, output_voxels, frozenset(linear))

    @property
    def shapes(self) -> dict[str, torch.Size]:
        """Path to the weight's shape, output channels first."""
        return {path: weight.shape for path, weight in self.weights.items()}

    def moments(self, path: str) -> LayerMoments:
        """The moments of a layer, by its path, that make errors of its weight errors of the logits.

        Calibration's moment of the outputs is a sum over all voxels, and a tap of a transposed convolution makes few of
        them.
        """
        moments = self.calibration.layers[path]
        return replace(moments, outputs=moments.outputs / self.output_voxels[path])

    def layer(self, path: str) -> WhitenedLayer:
        """The weight of a layer, by its path, in its calibrated norm; made anew with every call."""
        return WhitenedLayer(self.weights[path], self.moments(path))

    def truncated(self, path: str, ranks: tuple[int, int], sweeps: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Core (r, s, kz, ky, kx), output factor (O, r) and input factor (I, s) of a layer, float32.

        Args:
            path: Of the layer.
            ranks: (output rank r, input rank s).
            sweeps: Alternations; 0 takes the usual number, for without any the norm is not minimized.
        """
        factors = self.layer(path).truncated(ranks, sweeps or SWEEPS)
        core = factors.core.reshape(*factors.core.shape[:2], *self.weights[path].shape[2:])
        return core.float(), factors.output_factor.float(), factors.input_factor.float()

    def evidence(self, multiple: int, monitor: Monitor | None = None) -> RankEvidence:
        """Errors of all layers in the logits, relative to the logits' energy.

        Args:
            multiple: Step of the input ranks that are looked at; output ranks are all looked at.
            monitor: Hears the fraction of the layers done, and is asked after each whether to stop.

        Raises:
            Cancelled: The monitor said so.
        """
        monitor, errors = monitor or Monitor(), {}
        for number, (path, weight) in enumerate(self.weights.items(), start=1):
            # A matrix has one rank: that of its outputs says all
            steps = [weight.shape[1]] if path in self.linear else rank_steps(weight.shape[1], multiple)
            rows = self.layer(path).errors(steps)
            errors[path] = {rank: (row / self.calibration.logit_energy).numpy() for rank, row in rows.items()}
            monitor.fraction(number / len(self.weights))
        return RankEvidence(errors, {})
