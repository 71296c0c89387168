"""Tucker-2 compression of convolutions; the names that every method has, imported on first use.

So the command line has the method's options without torch.
"""

from __future__ import annotations

from ..faces import face

_HOME = {
    "Basis": "basis",
    "CalibratedBasis": "calibrated_basis",
    "Material": "material",
    "POLICIES": "policies",
    "Spec": "spec",
    "TuckerDetails": "details",
    "VERSION": "material",
    "add_options": "options",
    "apply": "method",
    "decompose": "basis",
    "describe": "spec",
    "layer_words": "details",
    "plan": "method",
    "policy_spec": "policies",
    "prepare": "material",
    "refit_network": "refit",
    "spec_of": "options",
}

__all__ = list(_HOME)  # noqa: PLE0605
__getattr__ = face(__name__, _HOME)
