"""Rotary positions that turn halves of a head's channels, in place of neighbours: the same attention, computed faster.

Files have the two channels of a pair side by side, which no processor turns in one go. Attention does not ask in which
order channels stand, as long as queries and keys have the same one: so the rows of what computes them are put in an
order in which the first channels of all pairs come before the second ones. That is for running alone: the weights are
then no longer those of files.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .primus import Attention, Encoder


def turn_halves(network: nn.Module) -> None:
    """Let every encoder of a network turn halves, in place; one stays as it is where rows cannot be reordered.

    Args:
        network: To be run; weights that it shares with others stay as they are, it gets new ones.
    """
    for encoder in network.modules():
        if isinstance(encoder, Encoder) and encoder.rotation is not None:
            _turn_halves(encoder)


def _turn_halves(encoder: Encoder) -> None:
    attentions = [module for module in encoder.modules() if isinstance(module, Attention)]
    layers = [_rows_of(each) for attention in attentions for each in (attention.q_proj, attention.k_proj)]
    if any(layer is None for layer in layers) or any(attention.halves for attention in attentions):
        return
    width = encoder.rotation.shape[-1]
    order = torch.cat((torch.arange(0, width, 2), torch.arange(1, width, 2)))
    for layer in layers:
        for name in ("weight", "bias"):
            if (rows := getattr(layer, name)) is not None:
                setattr(layer, name, nn.Parameter(_reordered(rows.detach(), order), rows.requires_grad))
    encoder.rotation = encoder.rotation[..., order]
    for attention in attentions:
        attention.halves = True


def _reordered(rows: Tensor, order: Tensor) -> Tensor:
    """Rows (heads * width, ...), those of every head in an order (width,)."""
    return rows.unflatten(0, (-1, len(order)))[:, order].flatten(0, 1)


def _rows_of(module: nn.Module) -> nn.Linear | None:
    """The linear layer whose rows are what a module gives: itself, or the last of two that were decomposed."""
    last = module[-1] if type(module) is nn.Sequential and len(module) else module
    return last if type(last) is nn.Linear else None
