"""INT8 quantization of convolutions after training, without labels; the names that every method has.

They are imported on first use, so the command line has the method's options without torch.
"""

from __future__ import annotations

from ..faces import face

_HOME = {
    "Int8Evidence": "evidence",
    "Material": "material",
    "QuantizedConv3d": "layers",
    "Spec": "spec",
    "VERSION": "material",
    "apply": "method",
    "check_weights": "method",
    "describe": "spec",
    "layer_words": "spec",
    "plan": "method",
    "prepare": "material",
    "quantizable": "method",
    "spec_of": "spec",
}

__all__ = list(_HOME)  # noqa: PLE0605
__getattr__ = face(__name__, _HOME)
