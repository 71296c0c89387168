"""What exported nnU-Net folders name in their plans.json as the class of their network.

nnU-Net finds it by its name and builds the compressed network with it; the weights come from the checkpoint. Its name
and its arguments stand in files that others keep: they stay as they are. Knows nothing of models, images or hardware.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from . import compression
from .compression.layers import replace_modules
from .errors import ModelFileError, UnsupportedModelError
from .nnunet.network_classes import OPERATIONS, TRANSFORMERS, is_network_class, is_operation_class
from .nnunet.network_classes import network_class as class_of
from .nnunet.transformer_arguments import check_transformer
from .printable import shown
from .records.compression import CompressionRecipe
from .records.serialization import from_json


class CompressedUNet(nn.Module):
    """A U-Net of dynamic_network_architectures with compressed layers: an encoder, and a decoder that takes its skips.

    Modules and parameters have the names that the original's have, so that whoever looks for ``decoder`` or
    ``encoder`` finds it.

    Args:
        input_channels: C.
        num_classes: L, channels of the logits.
        network_class: The original's class.
        recipes: What was done to the original, in order, as JSON.
        unused_heads: Paths of the heads that only deep supervision runs; without it they are left out.
        deep_supervision: Give logits of several resolutions, for training.
        arguments: The original's own, as in its plans.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        network_class: type[nn.Module],
        recipes: Sequence[dict[str, Any]],
        unused_heads: Sequence[str] = (),
        deep_supervision: bool = False,
        **arguments: Any,
    ):
        super().__init__()
        _check_classes(network_class, arguments)
        network = network_class(
            input_channels=input_channels, num_classes=num_classes, deep_supervision=deep_supervision, **arguments
        )
        if not deep_supervision:
            replace_modules(network, {_head(network, path): nn.Identity() for path in unused_heads})
        _apply_recipes(network, recipes)
        self.encoder = network.encoder
        self.decoder = network.decoder
        if hasattr(network, "initialize"):  # what nnU-Net calls on every module before it loads or trains
            self.initialize = network.initialize

    def forward(self, patches: Tensor) -> Tensor | list[Tensor]:
        """Patches (B, C, Z, Y, X) to logits (B, L, Z, Y, X); with deep supervision a list, the finest first.

        nnU-Net gives slices (B, C, Y, X) to a 2D network, whose kernels here are one slice thick: it gets slices back.
        """
        if patches.ndim == 4:
            logits = self(patches.unsqueeze(2))
            return [each.squeeze(2) for each in logits] if isinstance(logits, list) else logits.squeeze(2)
        return self.decoder(self.encoder(patches))


def compressed_transformer(
    input_channels: int,
    num_classes: int,
    network_class: str,
    recipes: Sequence[dict[str, Any]],
    unused_heads: Sequence[str] = (),
    deep_supervision: bool = False,
    **arguments: Any,
) -> nn.Module:
    """A transformer of dynamic_network_architectures with compressed layers, under the names that the original's have.

    Args:
        input_channels, num_classes, recipes: As of :class:`CompressedUNet`.
        network_class: Full name of the original's class.
        unused_heads: Paths of modules that no prediction runs; they are left out.
        deep_supervision: As nnU-Net asks every network; a transformer has one output, whatever is asked for.
        arguments: The original's own, as in its plans.

    Returns:
        Module from patches (B, C, Z, Y, X) to logits (B, L, Z, Y, X).
    """
    if not isinstance(network_class, str) or network_class not in TRANSFORMERS:
        raise UnsupportedModelError(
            f"network_class should be a transformer of nnU-Net's; found {shown(network_class)}."
        )
    check_transformer(TRANSFORMERS[network_class], arguments, ())
    network = class_of(network_class)(input_channels=input_channels, num_classes=num_classes, **arguments)
    replace_modules(network, {_head(network, path): nn.Identity() for path in unused_heads})
    _apply_recipes(network, recipes)
    return network


def _apply_recipes(network: nn.Module, recipes: Sequence[dict[str, Any]]) -> None:
    """Give a network the structure that compressions, as JSON, have left of it; in place."""
    for document in recipes:
        recipe = from_json(CompressionRecipe, document)
        if recipe.changes:  # else weights alone were changed
            compression.method(recipe.method).apply(network, recipe.changes)


def _check_classes(network_class: object, arguments: dict[str, Any]) -> None:
    """nnU-Net takes whatever bears a name that its plans hold; only what is part of a U-Net is called here."""
    if not is_network_class(network_class):
        raise UnsupportedModelError(f"network_class should be a U-Net of nnU-Net's; found {shown(network_class)}.")
    for role in OPERATIONS:
        operation = arguments.get(role)
        if operation is not None and not is_operation_class(role, operation):
            raise UnsupportedModelError(f"{role} should be a class for it of torch.nn; found {shown(operation)}.")


def _head(network: nn.Module, path: str) -> nn.Module:
    head = dict(network.named_modules()).get(path) if path else None
    if head is None:
        raise ModelFileError(f"unused_heads should be paths of the network's modules; found {shown(path)}.")
    return head
