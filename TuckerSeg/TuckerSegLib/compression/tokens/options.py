"""The options of token sparsification on the command line. Knows nothing of torch."""

from __future__ import annotations

import argparse

from ...typed_numbers import real, whole
from .spec import AGREEMENT, Spec

POLICIES = ("merge", "leave")


def add_options(parser: argparse.ArgumentParser, strength: bool = True) -> None:
    """Add the options of token sparsification to a command.

    Args:
        parser: Of the command; changed in place.
        strength: Makes no difference: how many tokens are kept is typed beside the method's name.
    """
    parser.add_argument(
        "--token-blocks",
        type=whole,
        nargs="+",
        metavar="N",
        help="of --method tokens: tokens leave after these blocks, counted from 0 "
        "(default: after a quarter, half and three quarters of them)",
    )
    parser.add_argument(
        "--token-policy",
        choices=POLICIES,
        help="of --method tokens: merge tokens that are alike before the first block, or leave out those that change "
        "least after some (default: merge; leave where --token-blocks are named)",
    )
    parser.add_argument(
        "--token-agreement",
        type=real,
        default=AGREEMENT,
        help="of --method tokens: least mean Dice with the whole network on patches; where it is missed, more tokens "
        "are kept, up to all. 0 tries nothing (default: %(default)s)",
    )


def spec_of(options: argparse.Namespace, strength: float | None = None) -> Spec | None:
    """The sparsification that options of the command line ask for; None where they ask for none.

    Args:
        options: As the parser that :func:`add_options` changed has read them.
        strength: Share of kept tokens; None: not typed.

    Raises:
        SpecError: An option out of its range.
    """
    if strength is None:
        return None
    blocks = None if options.token_blocks is None else tuple(options.token_blocks)
    merged = (options.token_policy or ("merge" if blocks is None else "leave")) == "merge"
    return Spec(strength, blocks=blocks, agreement=options.token_agreement, merged=merged, paired=merged)
