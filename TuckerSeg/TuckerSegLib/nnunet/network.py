"""Builds networks of dynamic_network_architectures from the facts in the plans. No weights, no trainer look-up.

As nnunetv2's ``get_network_from_plans`` does, but for where classes come from: it imports whatever a file names.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import ModelFolderError, TuckerSegError, UnsupportedModelError
from .network_arguments import ROLES, check_architecture
from .network_classes import COMPRESSED_NETWORK, COMPRESSED_NETWORKS, TRANSFORMERS, network_class, operation_class
from .plans import Architecture

if TYPE_CHECKING:
    import torch


def build_network(architecture: Architecture, input_channels: int, logit_channels: int) -> torch.nn.Module:
    """Build a network in evaluation mode on the current default device (``torch.device("meta")`` costs nothing).

    Args:
        architecture: Class and arguments, as plans name them; checked before anything is built.
        input_channels: Of the image.
        logit_channels: Of the output.

    Returns:
        Module from (B, C, Z, Y, X) to logits (B, L, Z, Y, X); deep supervision off.

    Raises:
        UnsupportedModelError: A class or an argument that is not known.
        ModelFolderError: An argument makes no sense.
    """
    check_architecture(architecture.class_name, architecture.kwargs, architecture.requires_import, ())
    kwargs: dict[str, Any] = copy.deepcopy(architecture.kwargs)
    for role in ROLES:
        if kwargs.get(role) is not None:
            kwargs[role] = operation_class(role, kwargs[role])
    try:
        network = _builder(architecture.class_name, kwargs)(
            input_channels=input_channels, num_classes=logit_channels, **kwargs
        )
    except TuckerSegError as error:
        raise type(error)(f"plans.json: {error}") from error
    except TypeError as error:  # of an older version of the package
        raise UnsupportedModelError(
            f"The network '{architecture.class_name}' cannot be built with the installed "
            f"dynamic_network_architectures: {error}"
        ) from error
    except (AssertionError, AttributeError, ValueError, RuntimeError) as error:
        raise ModelFolderError(
            f"plans.json: the network '{architecture.class_name}' cannot be built: {error}"
        ) from error
    return network.eval()


def _builder(class_name: str, kwargs: dict[str, Any]) -> Callable[..., torch.nn.Module]:
    """What makes a network of arguments, which are completed in place."""
    if class_name in TRANSFORMERS:
        return network_class(class_name)
    kwargs["deep_supervision"] = False
    if class_name not in COMPRESSED_NETWORKS:
        return network_class(class_name)
    if class_name == COMPRESSED_NETWORK:
        kwargs["network_class"] = network_class(kwargs["network_class"])
    # Known by name alone: it is made of compressed layers, of which nothing is known here.
    return getattr(importlib.import_module("TuckerSegLib.compressed_network"), class_name.rpartition(".")[2])
