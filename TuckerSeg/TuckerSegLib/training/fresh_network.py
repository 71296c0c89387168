"""A network of plans with fresh weights, as nnU-Net begins a training."""

from __future__ import annotations

import torch
from torch import nn

from ..compression.heads import drop_unused_heads
from ..compression.layers import convolutions
from ..nnunet.network import build_network
from ..nnunet.plans import ModelPlans

SLOPE = 1e-2  # of the leaky ReLU that nnU-Net's initialization (He) reckons with


def fresh_network(plans: ModelPlans, seed: int) -> nn.Module:
    """Build the network of plans with random weights, always the same ones for a seed; without unused heads.

    Returns:
        Module from (B, C, Z, Y, X) to logits (B, L, Z, Y, X); in evaluation mode, without gradients.

    Raises:
        UnsupportedModelError, ModelFolderError: See ``build_network``.
    """
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(seed)
        with torch.device("cpu"):
            network = build_network(plans.architecture, plans.input_channels, plans.logit_channels)
            drop_unused_heads(network, plans.patch_shape, plans.input_channels)
            for layer in convolutions(network).values():
                nn.init.kaiming_normal_(layer.weight, a=SLOPE)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
    return network.requires_grad_(False)
