"""Steps that keep a share of the original's time when they are measured, whatever the predictions are worth.

The network that is chosen is timed beside its original, a few patches of each. Where it takes more or less than was
predicted, the prices of what each means changes are corrected by what is measured of it, and the choice is made again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..compression.allocation.steps import LEAST_SAVED, Allocation

ROUNDS = 3  # choices that are timed
NEAR = 0.05  # of a share: measured and predicted are taken for the same
LEAST_FACTOR, MOST_FACTOR = 0.5, 3.0  # of a correction: beyond that a measurement went wrong

Steps = Sequence[tuple[str, Any]]


@dataclass(frozen=True)
class Choice:
    """Steps, and what they save.

    Attributes:
        steps: See ``Allocation``; none where no choice is faster than the original.
        predicted: Share of the original's time by the uncorrected times of layers.
        measured: The same as it was measured; None: it was not.
        corrections: Of prices, as far as they are known; see ``problem.Problem``.
        error: See ``Allocation``.
    """

    steps: Steps
    predicted: float = 1.0
    measured: float | None = None
    corrections: Mapping[str, float] | None = None
    error: float = 0.0

    @property
    def shares(self) -> tuple[float, float]:
        """Of the original's time, predicted and measured."""
        return self.predicted, self.predicted if self.measured is None else self.measured


def timed_choice(
    share: float,
    allocate: Callable[[Mapping[str, float]], Allocation],
    predicted: Callable[[Steps], float],
    measured: Callable[[Steps], float],
) -> Choice:
    """Choose steps whose measured time is what was asked for.

    Args:
        share: Of the original's time, that may be spent.
        allocate: The allocation for that share by corrected prices.
        predicted: Share of the original's time that steps take by the uncorrected times of layers.
        measured: The same as it is measured.

    Returns:
        Of the choices that were timed the one of least error among those that keep the share, up to ``NEAR``; where
        none does, the fastest. No steps where that is not faster than the original.
    """
    corrections: dict[str, float] = {}
    choices: list[Choice] = []
    for _ in range(ROUNDS):
        allocation = allocate(corrections)
        if not allocation.steps or any(choice.steps == allocation.steps for choice in choices):
            break
        expected = allocation.cost / allocation.original_cost  # by corrected prices
        shares = predicted(allocation.steps), measured(allocation.steps)
        choices.append(Choice(allocation.steps, *shares, dict(corrections), allocation.error))
        if abs(shares[1] / expected - 1) <= NEAR:
            break
        corrections |= _corrected(allocation, corrections, shares, predicted, measured)
    if not choices:
        return Choice((), corrections=corrections)
    kept = [choice for choice in choices if choice.measured <= share * (1 + NEAR)]
    best = min(kept, key=lambda each: each.error) if kept else min(choices, key=lambda each: each.measured)
    steps = best.steps if best.measured <= 1 - LEAST_SAVED else ()
    return Choice(steps, best.predicted, best.measured, corrections, best.error)


def _corrected(
    allocation: Allocation,
    earlier: Mapping[str, float],
    whole: tuple[float, float],
    predicted: Callable[[Steps], float],
    measured: Callable[[Steps], float],
) -> dict[str, float]:
    """Factors of the prices of each means that was used.

    The steps are timed one after the other; what the network takes more than predicted from one to the next is put
    down to the means that came with it.

    Args:
        earlier: Factors that the allocation's parts hold already.
        whole: Share of the original's time after all steps, predicted and measured.
    """
    factors, off_before = {}, 0.0
    for count, (means, _) in enumerate(allocation.steps, start=1):
        done = allocation.steps[:count]
        shares = whole if count == len(allocation.steps) else (predicted(done), measured(done))
        off = (shares[1] - shares[0]) * allocation.original_cost
        part = allocation.parts[means] / earlier.get(means, 1.0)
        factors[means] = min(MOST_FACTOR, max(LEAST_FACTOR, 1 + (off - off_before) / part)) if part else 1.0
        off_before = off
    return factors
