"""What a network is trained with in a pass: patches of which shape, and numbers of which precision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ...compression.trace import trace
from ...nnunet.plans import ModelPlans
from .settings import FineTuningSettings


def trained_plans(plans: ModelPlans, network: nn.Module, settings: FineTuningSettings) -> ModelPlans:
    """The plans with the patches of the settings, which may be smaller than the model's.

    Args:
        plans: Of the model.
        network: From (B, C, Z, Y, X) to logits (B, L, Z, Y, X).
        settings: How it is trained.

    Raises:
        SpecError: The network does not take such patches.
    """
    if settings.patch_shape is None:
        return plans
    trace(network, settings.patch_shape, plans.input_channels)
    return replace(plans, patch_shape=tuple(settings.patch_shape))


def autocast_of(device: torch.device, precision: str) -> torch.autocast:
    """The context of a pass; see ``FineTuningSettings.precision``."""
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return torch.autocast(device.type, torch.float16, enabled=device.type == "cuda")


def loss_scaler(device: torch.device) -> Any:
    """What keeps small gradients of fp16 on a GPU from becoming zero; elsewhere it does nothing."""
    amp = torch.amp if hasattr(torch.amp, "GradScaler") else torch.cuda.amp  # the second before torch 2.3
    return amp.GradScaler(enabled=device.type == "cuda")


def summable(logits: torch.Tensor) -> torch.Tensor:
    """Logits that sums over all voxels may be made of: bf16, of eight bits, as fp32."""
    return logits.float() if logits.dtype == torch.bfloat16 else logits
