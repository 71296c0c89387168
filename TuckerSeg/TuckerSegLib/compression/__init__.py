"""Network to smaller network. Knows nothing of nnU-Net, images or hardware. ``methods`` has the table of methods."""

from .methods import ALLOCATOR, METHODS, add_options, layer_words, method, spec_of, spec_of_options

__all__ = ["ALLOCATOR", "METHODS", "add_options", "layer_words", "method", "spec_of", "spec_of_options"]
