"""Token sparsification; the names that every method has, imported on first use.

So the command line has the method's options without torch.
"""

from __future__ import annotations

from ..faces import face

_HOME = {
    "Material": "material",
    "Spec": "spec",
    "VERSION": "material",
    "add_options": "options",
    "apply": "method",
    "describe": "spec",
    "for_training": "method",
    "layer_words": "details",
    "plan": "method",
    "prepare": "material",
    "spec_of": "options",
}

__all__ = list(_HOME)  # noqa: PLE0605
__getattr__ = face(__name__, _HOME)
