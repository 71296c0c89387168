"""What the stages of a network give, while it runs: a repair matches them before the logits can be matched."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

_STAGE = re.compile(r"(^|\.)stages\.\d+$")  # of nnU-Net's encoders and decoders


class StageEnds:
    """Keeps the output of every stage of a network's latest run.

    Args:
        network: Gets hooks until :meth:`close`.

    Attributes:
        outputs: One tensor (B, C, Z, Y, X) per stage that ran, in the order in which they ran.
    """

    def __init__(self, network: nn.Module):
        self.outputs: list[Tensor] = []
        self._handles = [
            module.register_forward_hook(self._keep) for path, module in network.named_modules() if _STAGE.search(path)
        ]

    def _keep(self, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        self.outputs.append(output)

    def take(self) -> list[Tensor]:
        """The outputs of the latest run; they are kept no longer."""
        outputs, self.outputs = self.outputs, []
        return outputs

    def close(self) -> None:
        """Take the hooks off the network."""
        for handle in self._handles:
            handle.remove()


def stage_loss(outputs: Sequence[Tensor], expected: Sequence[Tensor], widths_differ: bool = False) -> Tensor:
    """Mean over the stages of the relative squared error of what they give.

    A stage whose shape is another one, as one that filters were pruned from, has nothing to be compared with and is
    left out; 0 where no stage is left.

    Args:
        outputs, expected: Of the compressed and of the original network, stage by stage, (B, C, Z, Y, X).
        widths_differ: Stages may be fewer than the original's, and narrower. Each is compared with the next of the
            original's that has its resolution; where it has other channels, by the energy of every voxel: the mean of
            the channels' squares, relative to its mean (attention transfer, Zagoruyko & Komodakis 2017).
    """
    errors = []
    pairs = _paired(outputs, expected) if widths_differ else zip(outputs, expected, strict=True)
    for own, other in pairs:
        if widths_differ and own.shape != other.shape:
            own, other = _energy(own.float()), _energy(other.float())
        if own.shape == other.shape:
            other = other.float()
            centered = other - other.mean(dim=(2, 3, 4), keepdim=True)  # var() takes five times as long
            error = nn.functional.mse_loss(own.float(), other)
            errors.append(error / centered.square().mean().clamp(min=1e-12))
    return torch.stack(errors).mean() if errors else torch.zeros(())


def _paired(outputs: Sequence[Tensor], expected: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Stages of two networks that have one resolution, both in the order in which they ran."""
    pairs, rest = [], iter(expected)
    for own in outputs:
        for other in rest:
            if other.shape[2:] == own.shape[2:]:
                pairs.append((own, other))
                break
    return pairs


def _energy(maps: Tensor) -> Tensor:
    """Mean square over the channels of maps (B, C, Z, Y, X), (B, 1, Z, Y, X), relative to its mean."""
    energy = maps.square().mean(dim=1, keepdim=True)
    return energy / energy.mean(dim=(2, 3, 4), keepdim=True).clamp(min=1e-12)
