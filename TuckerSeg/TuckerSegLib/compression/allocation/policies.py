"""Named ways to spend a strength by measured time or by counts, by all means together or by one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...errors import SpecError
from .spec import Spec


@dataclass(frozen=True)
class Policy:
    """One named way, as ``tucker.policies.Policy``.

    Attributes:
        explanation: What it does, for people.
        settings: Fields of ``Spec``.
        calibrated: Whether it is meant to be calibrated.
    """

    explanation: str
    settings: dict[str, Any] = field(default_factory=dict)
    calibrated: bool = True


POLICIES = {
    "joint": Policy(
        "pruning, Tucker and INT8 together, layer by layer; the strength is the share of the original's time on this "
        "computer, and the fit to the volume is part of it"
    ),
    "tucker-time": Policy("the same by Tucker alone, to compare with", {"means": ["tucker"]}),
    "joint-macs": Policy(
        "the same means, counted by multiply-accumulates; the strength is their share of the original's",
        {"budget": "macs"},
    ),
    "agreement": Policy("the fastest by all means that agrees so well with the original as the strength says"),
}


def policy_spec(name: str, strength: float, comparable: bool = False) -> Spec:
    """The compression that a policy's name and a strength stand for.

    Args:
        name: In ``POLICIES``.
        strength: Share of the original's time, or MACs; of ``agreement`` the mean Dice to keep.
        comparable: Makes no difference: no layer gets dearer.

    Raises:
        SpecError: There is no such policy, or the strength is out of its range.
    """
    if name not in POLICIES:
        raise SpecError(f"Unknown policy {name!r}; known: {', '.join(POLICIES)}.")
    if name == "agreement":
        return Spec(agreement=strength)
    return Spec(strength, **POLICIES[name].settings)
