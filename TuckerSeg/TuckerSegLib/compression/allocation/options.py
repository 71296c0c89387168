"""The options of the allocator on the command line. Knows nothing of torch."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ...errors import SpecError
from ...records.job import ALLOCATOR
from ...typed_numbers import real
from .spec import BUDGETS, MEANS, Spec

COUNTED_BY_METHODS = (None, "macs", "parameters")  # budgets that a method alone spends by rules of its own


def add_options(parser: argparse.ArgumentParser, strength: bool = True) -> None:
    """Add the options of the allocator to a command.

    Args:
        parser: Of the command; changed in place.
        strength: False leaves out how far to compress, for a command that tries several strengths.
    """
    parser.add_argument(
        "--budget",
        choices=BUDGETS,
        help="what is spared. time: measured seconds on this computer; macs: operations; parameters; bytes: of the "
        "weights. With --method auto, and with time or bytes in any case, the strength is the share of the original's "
        "cost (default: time for --method auto, else macs)",
    )
    if strength:
        parser.add_argument(
            "--agreement",
            type=real,
            metavar="DICE",
            help="as 0.98: the fastest network that agrees so well with the original on held-back patches of the "
            "volumes that it is calibrated on; in place of a strength",
        )


def is_asked_for(names: Sequence[str], options: argparse.Namespace) -> bool:
    """Whether the allocator carries out what is typed: by its own name, a budget of its own, or an agreement.

    Args:
        names: Methods as typed, in their order; none where nothing is typed.
        options: As the parser that :func:`add_options` changed has read them.

    Raises:
        SpecError: Such a budget or an agreement goes with several methods, or one that the allocator does not know.
    """
    own = options.budget not in COUNTED_BY_METHODS or getattr(options, "agreement", None) is not None
    if own and (len(names) > 1 or any(name not in (ALLOCATOR, *MEANS) for name in names)):
        raise SpecError(
            f"A budget of time or bytes and an agreement go with one method of {', '.join((ALLOCATOR, *MEANS))}; found "
            f"{', '.join(names)}."
        )
    return own or list(names) == [ALLOCATOR]


def spec_of(options: argparse.Namespace, strength: float | None = None, name: str = ALLOCATOR) -> Spec | None:
    """The allocation that options of the command line ask for; None where they do not say how far it goes.

    Args:
        options: As the parser that :func:`add_options` changed has read them.
        strength: Share of the original's cost; None takes the other methods' own option for it.
        name: ``auto`` for all means, or the one that may be used.

    Raises:
        SpecError: Options that contradict each other, or one out of its range.
    """
    agreement = getattr(options, "agreement", None)
    share = getattr(options, "rank", None) if strength is None else strength
    if agreement is not None and share is not None:
        raise SpecError("How far to compress is said once: by a strength or by --agreement; found both.")
    if agreement is None and share is None:
        return None
    means = None if name == ALLOCATOR else [name]
    budget = options.budget or "time"
    return Spec(budget=budget, means=means, agreement=agreement) if share is None else Spec(share, budget, means)
