"""Named ways to choose the ranks: the one table that the command line, the accuracy curve and jobs go by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...errors import SpecError
from .spec import AUTO, PAPER, Spec


@dataclass(frozen=True)
class Policy:
    """One named way to choose the ranks.

    Attributes:
        explanation: What it does, for people.
        settings: Fields of ``Spec`` beside the ratio.
        calibrated: Whether it is meant to be calibrated.
        default_strength: Rank ratio where none is named; None: there is no compression then.
        is_option: Whether the option ``--policy`` offers it; the others are chosen by other options.
    """

    explanation: str
    settings: dict[str, Any] = field(default_factory=dict)
    calibrated: bool = False
    default_strength: float | None = None
    is_option: bool = True


PAPER_RATIO = 0.3  # the Tucker paper's recommendation
POLICIES = {
    "paper": Policy(
        f"every layer, ranks as in the Tucker paper (rank {PAPER_RATIO} unless another is given)",
        PAPER,
        default_strength=PAPER_RATIO,
    ),
    "uniform": Policy("the same ratio in every layer, multiples of 8"),
    "weights": Policy("the ratio's budget spread by the weights alone", AUTO, is_option=False),  # --calibrate none
    "auto": Policy(
        "the ratio's budget, spread over the layers so that the output changes least, by a calibration on the volume "
        "where there is one",
        AUTO,
        calibrated=True,
    ),
    "energy": Policy("the ratio is the share of the weights' energy to keep", {"rank_mode": "energy"}),
    # Where the ranks do not come from the ratio, one below 1 says that the network is to be compressed.
    "evbmf": Policy("variational Bayes on the weights", {"rank_mode": "evbmf"}, default_strength=PAPER_RATIO),
    "fixed": Policy("the same number of ranks in every layer", {"rank_mode": "fixed"}, default_strength=PAPER_RATIO),
}


def policy_spec(name: str, strength: float, comparable: bool = False, **settings: Any) -> Spec:
    """The compression that a policy's name and a rank ratio stand for.

    Args:
        name: In ``POLICIES``.
        strength: Rank ratio.
        comparable: Layers that would get dearer stay dense under every policy, so that all of them have one budget.
        settings: Further fields of ``Spec``.

    Raises:
        SpecError: There is no such policy, or a setting is out of its range.
    """
    if name not in POLICIES:
        raise SpecError(f"Unknown policy {name!r}; known: {', '.join(POLICIES)}.")
    budget = {"keep_if_not_cheaper": True} if comparable else {}
    return Spec(strength, **{**POLICIES[name].settings, **budget, **settings})
