"""Named ways to choose what is pruned: the one table that the command line, the accuracy curve and jobs go by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...errors import SpecError
from .spec import Spec


@dataclass(frozen=True)
class Policy:
    """One named way to choose what is pruned.

    Attributes:
        option: What ``--prune-policy`` calls it, and ``Spec.policy``.
        explanation: What it does, for people.
        calibrated: Whether it is meant to be calibrated.
    """

    option: str
    explanation: str
    calibrated: bool = True


POLICIES = {
    "prune": Policy(
        "calibrated",
        "the MACs of the same share everywhere, spread over the layers so that the output changes least",
    ),
    "prune-probed": Policy("probed", "the same, after each layer has been tried on patches of the volume"),
    "prune-uniform": Policy("uniform", "the same share of every layer's channels"),
    "sauron": Policy(
        "sauron",
        "channels that resemble others of their layer, up to these MACs, while the network still agrees with what it "
        "was on patches of the volume",
    ),
    "merge": Policy(
        "merge", "the same share of every layer's channels, those with filters alike merged into one", calibrated=False
    ),
}


def policy_spec(name: str, strength: float, comparable: bool = False, **settings: Any) -> Spec:
    """The pruning that a policy's name and a share of kept channels stand for.

    Args:
        name: In ``POLICIES``.
        strength: Share of kept channels.
        comparable: Makes no difference: all policies have one budget.
        settings: Further fields of ``Spec``.

    Raises:
        SpecError: There is no such policy, or a setting is out of its range.
    """
    if name not in POLICIES:
        raise SpecError(f"Unknown policy {name!r}; known: {', '.join(POLICIES)}.")
    return Spec(strength, policy=POLICIES[name].option, **settings)
