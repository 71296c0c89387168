"""Weight sharing: kernels become small whole numbers that point into a codebook; names that every method has.

After PathoNet's compression and sHAM (Gliozzo et al. 2023, arXiv:2401.00014). Imported on first use, so that the
command line has the method's options without torch.
"""

from __future__ import annotations

from ..faces import face

_HOME = {
    "POLICIES": "policies",
    "STORED_OTHERWISE": "spec",
    "Spec": "spec",
    "VERSION": "material",
    "add_options": "options",
    "apply": "method",
    "check_weights": "method",
    "describe": "spec",
    "layer_words": "details",
    "plan": "method",
    "policy_spec": "policies",
    "prepare": "material",
    "spec_of": "options",
}

__all__ = list(_HOME)  # noqa: PLE0605
__getattr__ = face(__name__, _HOME)
