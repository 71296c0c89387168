"""Tucker-2 compression of convolutions; the names that every method has."""

from __future__ import annotations

from .basis import Basis, decompose
from .calibrated_basis import CalibratedBasis
from .method import apply, plan
from .spec import Spec

__all__ = ["Basis", "CalibratedBasis", "Spec", "apply", "decompose", "plan"]
