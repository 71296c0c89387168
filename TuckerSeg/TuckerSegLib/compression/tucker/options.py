"""The options of Tucker compression on the command line. Knows nothing of torch."""

from __future__ import annotations

import argparse
from typing import Any

from ...typed_numbers import real, whole
from .policies import POLICIES, policy_spec
from .spec import Spec

RANK_HELP = (
    "rank ratio in (0, 1]: compress the network to this share of its channels' ranks; 1 is the original network. "
    "Low ranks are faster and lose accuracy: 'tuckerseg demo' and 'tuckerseg compare' show how much (default: 1)"
)


def add_options(parser: argparse.ArgumentParser, strength: bool = True) -> None:
    """Add the options of Tucker compression to a command.

    Args:
        parser: Of the command; changed in place.
        strength: False leaves out how far to compress, for a command that tries several strengths.
    """
    if strength:
        parser.add_argument("--rank", type=real, metavar="RATIO", help=RANK_HELP)
    explanations = {name: policy.explanation for name, policy in POLICIES.items() if policy.is_option}
    parser.add_argument(
        "--policy",
        choices=tuple(explanations),
        default="auto",
        help=f"where the ranks come from. {'; '.join(f'{name}: {text}' for name, text in explanations.items())} "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--rank-mode", choices=("relative", "fixed"), default="relative", help="with --policy paper or uniform"
    )
    parser.add_argument("--minimum-rank", type=whole, default=8, help="no rank below this (default: %(default)s)")


def spec_of(options: argparse.Namespace, strength: float | None = None) -> Spec | None:
    """The compression that options of the command line ask for; None where they ask for none.

    Args:
        options: As the parser that :func:`add_options` changed has read them.
        strength: Rank ratio; None takes the one of the options.

    Raises:
        SpecError: Options that contradict each other, or one out of its range.
    """
    ratio = getattr(options, "rank", None) if strength is None else strength
    ratio = POLICIES[options.policy].default_strength if ratio is None else ratio
    if ratio is None:
        return None
    name = "fixed" if options.policy == "uniform" and options.rank_mode == "fixed" else options.policy
    settings: dict[str, Any] = {"minimum_rank": options.minimum_rank}
    settings |= {"rank_mode": options.rank_mode} if name == "paper" else {"budget": options.budget or "macs"}
    return policy_spec(name, ratio, **settings)
