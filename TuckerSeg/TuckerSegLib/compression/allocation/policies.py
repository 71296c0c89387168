"""Named ways to spend a strength by all means together."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import SpecError
from .spec import Spec


@dataclass(frozen=True)
class Policy:
    """One named way, as ``tucker.policies.Policy``.

    Attributes:
        explanation: What it does, for people.
        calibrated: Whether it is meant to be calibrated.
        budget: What it spares.
    """

    explanation: str
    calibrated: bool = True
    budget: str = "time"


POLICIES = {
    "joint": Policy(
        "pruning, Tucker and whole numbers together, layer by layer; the strength is the share of the original's time "
        "on this computer, and a refit is part of it"
    ),
    "joint-macs": Policy("the same, where the strength is the share of the operations", budget="macs"),
}


def policy_spec(name: str, strength: float, comparable: bool = False) -> Spec:
    """The compression that a policy's name and a strength stand for.

    Args:
        name: In ``POLICIES``.
        strength: Share of the original's cost.
        comparable: Makes no difference: no layer gets dearer.

    Raises:
        SpecError: There is no such policy, or the strength is out of its range.
    """
    if name not in POLICIES:
        raise SpecError(f"Unknown policy {name!r}; known: {', '.join(POLICIES)}.")
    return Spec(strength, POLICIES[name].budget)
