"""The options of filter pruning on the command line. Knows nothing of torch."""

from __future__ import annotations

import argparse

from ...typed_numbers import real, whole
from .policies import POLICIES
from .spec import Spec


def add_options(parser: argparse.ArgumentParser, strength: bool = True) -> None:
    """Add the options of filter pruning to a command.

    Args:
        parser: Of the command; changed in place.
        strength: Makes no difference: how far to prune is typed beside the method's name.
    """
    explanations = {policy.option: policy.explanation for policy in POLICIES.values()}
    parser.add_argument(
        "--prune-policy",
        choices=tuple(explanations),
        default="calibrated",
        help=f"of --method prune: {'; '.join(f'{name}: {text}' for name, text in explanations.items())} "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--prune-multiple",
        type=whole,
        default=8,
        help="of --method prune: layers keep a multiple of this many channels (default: %(default)s)",
    )
    parser.add_argument(
        "--prune-agreement",
        type=real,
        default=0.99,
        help="of --prune-policy sauron: least mean Dice with the original on patches (default: %(default)s)",
    )


def spec_of(options: argparse.Namespace, strength: float | None = None) -> Spec | None:
    """The pruning that options of the command line ask for; None where they ask for none.

    Args:
        options: As the parser that :func:`add_options` changed has read them.
        strength: Share of kept channels; None: not typed.

    Raises:
        SpecError: An option out of its range.
    """
    if strength is None:
        return None
    return Spec(
        strength,
        policy=options.prune_policy,
        budget=options.budget or "macs",
        multiple=options.prune_multiple,
        minimum=options.prune_multiple,
        agreement=options.prune_agreement,
    )
