"""A network as it is run: one that computes the same faster, with weights that are no longer those of files."""

from __future__ import annotations

from torch import nn

from ..compression.layers import replace_modules
from ..nnunet.cell_decoder import decoders_by_products
from ..nnunet.turned_halves import turn_halves


def rewrite(network: nn.Module, processor: bool) -> None:
    """Rewrite what is known to compute the same faster, in place.

    Args:
        network: In evaluation mode; weights that it shares with others stay as they are.
        processor: Whether it runs on a processor: others may not know arrays of so many axes, and need not.
    """
    turn_halves(network)
    if processor:
        replace_modules(network, decoders_by_products(network))
