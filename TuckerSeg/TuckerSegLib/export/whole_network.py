"""All folds of a model as one network from patches to logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from ..compression.tokens.passages import fix_numbers
from ..nnunet.turned_halves import turn_halves

if TYPE_CHECKING:
    from ..models.model import SegmentationModel


class MeanOfFolds(nn.Module):
    """A network whose logits are the mean of those of several networks."""

    def __init__(self, networks: Sequence[nn.Module]):
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, patches: Tensor) -> Tensor:
        """Patches (B, C, Z, Y, X) to logits (B, L, Z, Y, X)."""
        first, *others = self.networks
        logits = first(patches)
        for network in others:
            logits = logits + network(patches)
        return logits / len(self.networks)


def whole_network(model: SegmentationModel) -> nn.Module:
    """One network of all folds, in evaluation mode, whose shapes hang on no values: so it is written, and compared."""
    networks = [model.network(fold) for fold in model.folds]
    for network in networks:
        fix_numbers(network)
        turn_halves(network)
    return networks[0] if len(networks) == 1 else MeanOfFolds(networks).eval()
