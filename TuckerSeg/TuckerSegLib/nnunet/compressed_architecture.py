"""The ``architecture`` section of plans whose network is compressed, and the way back from it.

The original's arguments stay where nnU-Net's tools look for them; what was done to the network stands beside them, as
plain JSON. What takes both, ``compressed_network.CompressedUNet`` or ``compressed_transformer``, is known here by its
name alone.
"""

from __future__ import annotations

import copy

from ..records.compression import CompressionRecipe
from ..records.serialization import from_json, to_json
from .network_arguments import COMPRESSED_ARGUMENTS
from .network_classes import COMPRESSED_NETWORK, COMPRESSED_NETWORKS, COMPRESSED_TRANSFORMER, TRANSFORMERS
from .plans import Architecture

# Where nnunetv2's conversion of old plans looks for a class, and where the class has moved. nnU-Net's own fallback, a
# search through every architecture, imports timm and torchvision.
MOVED_CLASSES = {
    "dynamic_network_architectures.architectures.residual_unet.ResidualEncoderUNet": (
        "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
    ),
}


def compressed_architecture(
    architecture: Architecture, recipes: tuple[CompressionRecipe, ...], unused_heads: tuple[str, ...]
) -> Architecture:
    """The architecture section from which nnU-Net builds a compressed network.

    Args:
        architecture: Of the original.
        recipes: What was done to it, in order.
        unused_heads: Paths of the original's modules that no prediction runs; the compressed one lacks their weights.
    """
    own = {
        "network_class": MOVED_CLASSES.get(architecture.class_name, architecture.class_name),
        "recipes": [to_json(recipe) for recipe in recipes],
        "unused_heads": list(unused_heads),
    }
    kwargs = {**copy.deepcopy(architecture.kwargs), **own}
    if architecture.class_name in TRANSFORMERS:  # whose class nnU-Net need not import: it takes timm and torchvision
        return Architecture(COMPRESSED_TRANSFORMER, kwargs, architecture.requires_import)
    return Architecture(COMPRESSED_NETWORK, kwargs, (*architecture.requires_import, "network_class"))


def original_architecture(architecture: Architecture) -> tuple[Architecture, tuple[CompressionRecipe, ...]]:
    """The architecture of the original network, and its recipes, from those of a compressed one.

    Any other architecture is given as it is, with no recipes.

    Raises:
        ModelFileError: A recipe makes no sense, or was written by a newer version.
    """
    if architecture.class_name not in COMPRESSED_NETWORKS:
        return architecture, ()
    kwargs = copy.deepcopy(architecture.kwargs)
    class_name, recipes, _ = (kwargs.pop(name) for name in COMPRESSED_ARGUMENTS)
    imports = tuple(name for name in architecture.requires_import if name != "network_class")
    recipes = tuple(from_json(CompressionRecipe, recipe) for recipe in recipes)
    return Architecture(class_name, kwargs, imports), recipes
