"""How transformers are trained: shallow layers slower than deep ones, and blocks left out at random.

Source: the settings of TokenSparse (arXiv:2303.06522), whose layer decay is BEiT's (Bao et al. 2022, arXiv:2106.08254),
and stochastic depth (Huang et al. 2016, arXiv:1603.09382).
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn

from ..orthogonal_momentum import OrthogonalMomentum
from ..tensor_states import parameter_groups
from .settings import FineTuningSettings

# Parts of the names of what stands before the first block, and of what is not decayed beside norms and biases.
_EMBEDDING = {"down_projection", "register_tokens", "mask_token", "pos_embed", "embedding", "class_token", "positions"}
_TOKENS = {"register_tokens", "mask_token", "pos_embed", "class_token", "positions", "layer_tokens"}
_BRANCHES = (("attn", "mlp"), ("proj", "fc2"))  # what a block adds to its tokens, by the names that blocks have


def optimizer_of(network: nn.Module, settings: FineTuningSettings) -> torch.optim.Optimizer:
    """The optimizer of a network's parameters in their order; every group's ``factor`` scales its learning rate."""
    if settings.layer_decay is None:
        groups = parameter_groups(network, settings.learning_rate)
    else:
        groups = transformer_groups(network, settings.learning_rate, settings.layer_decay, settings.weight_decay)
    if settings.optimizer == "muon":
        return OrthogonalMomentum(groups)
    return torch.optim.AdamW(groups, betas=(0.9, settings.second_beta), weight_decay=settings.weight_decay)


def transformer_groups(
    network: nn.Module, learning_rate: float, layer_decay: float, weight_decay: float
) -> list[dict[str, Any]]:
    """The parameters of a network in their order, in groups for an optimizer, as ``parameter_groups`` gives them.

    A layer's learning rate is ``layer_decay`` to the number of blocks between it and the end: of block i of d it is
    decayed d - i times, of what stands before the blocks d + 1 times, of all else not at all. Norms, biases, places and
    single tokens have no weight decay.

    Args:
        network: With tokens that pass blocks.
        learning_rate: Of the last layers.
        layer_decay: In (0, 1].
        weight_decay: Of matrices and kernels.
    """
    depths = _depths(network)
    depth = 1 + max(depths.values(), default=-1)

    def key(named: tuple[str, nn.Parameter]) -> tuple[float, float]:
        name, parameter = named
        parts = set(name.split("."))
        if parts & _EMBEDDING and not any(path in name for path in ("passage.", "decoder.")):
            times = depth + 1
        else:
            block = next((number for path, number in depths.items() if name.startswith(path)), None)
            times = 0 if block is None else depth - block
        return layer_decay**times, 0.0 if parameter.ndim < 2 or parts & _TOKENS else weight_decay

    return [
        {
            "params": [parameter for _, parameter in named],
            "lr": learning_rate * factor,
            "factor": factor,
            "weight_decay": decay,
        }
        for (factor, decay), named in itertools.groupby(network.named_parameters(), key)
    ]


def _depths(network: nn.Module) -> dict[str, int]:
    """Prefix of the parameters' names of every block that tokens pass to its number."""
    depths = {}
    for path, module in network.named_modules():
        if getattr(module, "runs_blocks", False):
            parent = path.rpartition(".")[0]
            blocks = network.get_submodule(parent).blocks
            start = f"{parent}." if parent else ""
            depths |= {f"{start}blocks.{number}.": number for number in range(len(blocks))}
    return depths


class StochasticDepth:
    """Leaves out what blocks add to their tokens, at random while a network trains, the deeper the more often.

    Args:
        network: Gets hooks until :meth:`close`.
        rate: Of the last block; the first is never left out.
    """

    def __init__(self, network: nn.Module, rate: float):
        self._handles = []
        depths = _depths(network)
        last = max(depths.values(), default=0)
        for path, number in depths.items():
            block = network.get_submodule(path.removesuffix("."))
            names = next((names for names in _BRANCHES if all(hasattr(block, name) for name in names)), ())
            own = rate * number / max(1, last)
            for name in names if own > 0 else ():
                self._handles.append(getattr(block, name).register_forward_hook(_dropping(own)))

    def close(self) -> None:
        """Take the hooks off the network."""
        for handle in self._handles:
            handle.remove()


def _dropping(rate: float):
    def drop(module: nn.Module, inputs: tuple, added: Tensor) -> Tensor:
        if not module.training:
            return added
        kept = torch.rand(added.shape[0], *[1] * (added.ndim - 1), device=added.device) >= rate
        return added * kept / (1 - rate)

    return drop
