"""Finding and swapping the convolutions of a network, whatever names they go by.

nnU-Net networks hold one convolution under several names (``conv``, ``all_modules.0``, and again below
``decoder.encoder``), and ``forward`` does not use the one that ``named_modules`` shows. So modules are found and
replaced as objects, never by name, and every alias moves along.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from ..errors import SpecError

CONVOLUTIONS = (nn.Conv3d, nn.ConvTranspose3d)


def convolutions(network: nn.Module) -> dict[str, nn.Module]:
    """Path to module of every 3D convolution and transposed convolution of a network, in the network's order.

    A convolution that the network holds under several names is there once, under the first of them in
    ``named_modules`` order.
    """
    return {path: module for path, module in network.named_modules() if isinstance(module, CONVOLUTIONS)}


def replace_modules(network: nn.Module, replacements: Mapping[nn.Module, nn.Module]) -> None:
    """Swap modules in place, each at every site where the network holds it. The only place that swaps modules.

    Aliases stay aliases: two names of one module are two names of its replacement afterwards.

    Args:
        network: Changed in place. It cannot itself be replaced.
        replacements: Old module object to new module object.

    Raises:
        SpecError: A module to replace is not below ``network``; nothing has been changed then.
    """
    sites = [
        (parent, name, child)
        for parent in network.modules()  # all sites before the first swap, so that new modules are not walked
        for name, child in parent._modules.items()
        if child is not None and child in replacements
    ]
    missing = set(replacements) - {child for _, _, child in sites}
    if missing:
        kinds = sorted(type(module).__name__ for module in missing)
        raise SpecError(f"modules to replace are not part of this network: {kinds}")
    for parent, name, child in sites:
        parent.register_module(name, replacements[child])


def decode(network: nn.Module) -> None:
    """Put ordinary layers in place of those that hold their weights in another form, in place, at every alias.

    Such a layer has ``decoded()``, which gives the ordinary one.

    Args:
        network: Changed in place.

    Raises:
        ModelFileError: A layer holds what cannot be decoded.
    """
    replace_modules(network, {layer: layer.decoded() for layer in network.modules() if hasattr(layer, "decoded")})
