"""The optimizer of a pruning while training, and its learning rate from epoch to epoch."""

from __future__ import annotations

import torch
from torch import nn

from ..orthogonal_momentum import OrthogonalMomentum
from ..tensor_states import parameter_groups
from .settings import SauronSettings

WEIGHT_DECAY, POWER = 1e-5, 0.9  # of the schedule ``polynomial``


def optimizer_of(network: nn.Module, settings: SauronSettings) -> torch.optim.Optimizer:
    """A new optimizer for all parameters of a network, as the settings want it."""
    groups = parameter_groups(network, settings.training.learning_rate)
    if settings.training.optimizer == "muon":
        return OrthogonalMomentum(groups)
    if settings.schedule == "constant":
        return torch.optim.AdamW(groups)
    return torch.optim.Adam(groups, weight_decay=WEIGHT_DECAY)


def set_learning_rate(optimizer: torch.optim.Optimizer, settings: SauronSettings, epoch: int) -> None:
    """Set the learning rate of an epoch, counted from 1, in place."""
    training = settings.training
    share = 1.0 if settings.schedule == "constant" else (1 - (epoch - 1) / training.epochs) ** POWER
    for group in optimizer.param_groups:
        group["lr"] = group["factor"] * training.learning_rate * share
