"""Named ways to share weights, as the accuracy curve takes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ...errors import SpecError
from .spec import Spec


@dataclass(frozen=True)
class Policy:
    """One named way: what it does, for people; its settings; whether it is meant to be calibrated."""

    explanation: str
    settings: dict[str, Any]
    calibrated: bool = False


POLICIES = {
    "sharing": Policy("k-means per kernel, weighted by a calibration", {}, calibrated=True),
    "sharing-ecsq": Policy(
        "entropy-constrained per kernel, weighted by a calibration",
        {"quantizer": "ecsq", "rate_weight": 1e-7},
        calibrated=True,
    ),
    "sharing-global": Policy("k-means of all kernels together, as in sHAM", {"codebook": "global"}),
}


def policy_spec(name: str, strength: float, comparable: bool = False) -> Spec:
    """The weight sharing that a policy's name and a strength stand for; all have one budget.

    Raises:
        SpecError: There is no such policy, or the strength is out of its range.
    """
    if name not in POLICIES:
        raise SpecError(f"Unknown policy {name!r}; known: {', '.join(POLICIES)}.")
    return replace(Spec.at(strength), **POLICIES[name].settings)
