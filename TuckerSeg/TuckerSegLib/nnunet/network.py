"""Builds networks with nnunetv2 from the facts in the plans. No weights, no trainer look-up."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from ..errors import UnsupportedModelError
from .compressed_architecture import MOVED_CLASSES, NETWORK_CLASS
from .plans import Architecture, quiet_import

if TYPE_CHECKING:
    import torch

TRUSTED_PACKAGES = ("dynamic_network_architectures", "torch")


def build_network(architecture: Architecture, input_channels: int, logit_channels: int) -> torch.nn.Module:
    """Build a network in evaluation mode on the current default device (``torch.device("meta")`` costs nothing).

    Returns:
        Module from (B, C, Z, Y, X) to logits (B, L, Z, Y, X); deep supervision off.

    Raises:
        UnsupportedModelError: The class is not known to the installed packages, or refuses its arguments.
    """
    _refuse_foreign(architecture)
    with quiet_import():
        from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

        try:
            network = get_network_from_plans(
                MOVED_CLASSES.get(architecture.class_name, architecture.class_name),
                copy.deepcopy(architecture.kwargs),
                architecture.requires_import,
                input_channels,
                logit_channels,
                allow_init=False,
                deep_supervision=False,
            )
        except (ImportError, TypeError, AttributeError) as error:
            raise UnsupportedModelError(
                f"The network '{architecture.class_name}' cannot be built with the installed nnunetv2 and "
                f"dynamic_network_architectures: {error}"
            ) from error
    return network.eval()


def _refuse_foreign(architecture: Architecture) -> None:
    """Plans name classes to call: only those of torch, of nnU-Net's own packages and our own are."""
    named = [architecture.kwargs.get(key) for key in architecture.requires_import]
    if architecture.class_name != NETWORK_CLASS:
        named.append(architecture.class_name)
    for name in filter(None, named):
        if str(name).partition(".")[0] not in TRUSTED_PACKAGES:
            raise UnsupportedModelError(
                f"plans.json names '{name}'; a network may only use classes of {', '.join(TRUSTED_PACKAGES)}."
            )
